-- What some steps of the statistics counted, as one: for each queue and each thing counted the sum, or of a level the last
-- one that was noted. Changes nothing.
-- ARGV: prefix, length of a step (s), when the first begins (epoch s), how many steps, queues (JSON list), what is counted
--       (JSON list), how many of these, the first ones, are levels.
-- Returns for each queue in turn a list of these numbers, -1 where nothing was counted, or an empty list.
local P, length, begins, together = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local queues, whats, levels = cjson.decode(ARGV[5]), cjson.decode(ARGV[6]), tonumber(ARGV[7])
local told = {}

for q, queue in ipairs(queues) do
  local fields, sums, some = {}, {}, false
  for n, what in ipairs(whats) do
    fields[n], sums[n] = 'queue:' .. queue .. ' ' .. what, -1
  end
  for step = 0, together - 1 do
    local key = P .. ':fleet:statistics:' .. length .. ':' .. string.format('%d', begins + step * length)
    for n, number in ipairs(redis.call('HMGET', key, unpack(fields))) do
      if number then
        some, sums[n] = true, tonumber(number) + (n > levels and math.max(sums[n], 0) or 0)
      end
    end
  end
  told[q] = some and sums or {}
end
return told
