#!lua flags=allow-oom
-- Take ids out of a queue's list whose jobs are gone. They are marked at their places, and one pass takes all marks out: each
-- pass through a list of a million takes 20 ms in which nobody else is served.
-- ARGV: prefix, queue, the place in the list from which on to look, at how many entries, the ids that are thought to be gone.
-- Returns what was taken out. An id that has a job by now, or that is not at these places any more, stays.
local P, from, most = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local list, MARK, gone, taken = P .. ':queue:' .. ARGV[2], '\0', {}, {}

for n = 5, #ARGV do
  gone[ARGV[n]] = redis.call('EXISTS', P .. ':job:' .. ARGV[n]) == 0
end
for n, id in ipairs(redis.call('LRANGE', list, from, from + most - 1)) do
  if gone[id] then
    redis.call('LSET', list, from + n - 1, MARK)
    taken[#taken + 1] = id
  end
end
if #taken > 0 then
  redis.call('LREM', list, 0, MARK)
end
return taken
