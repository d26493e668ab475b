#!lua flags=allow-oom
-- Keep dead letters within their age and number, oldest first, and check some of them, so that none stays whose job is no
-- letter any more. Safe to repeat.
-- ARGV: prefix, seconds to keep, how many to keep, at how many to look, 1 to check some.
-- Returns how many went because of age or number: when that is as many as it looks at, there may be more.
--include lib_dead_letters
--include lib_late_pushes
local P, age, most, at_once, checks = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
local index, place = P .. ':fleet:dead-letters', P .. ':fleet:dead-letters:checked'
local now, CHECKED_KEPT = tonumber(redis.call('TIME')[1]), 86400

-- A letter that is one too many goes with its job, but for a job of a plain RQ client, whose own time counts, and one for
-- which others wait.
local function drop(id)
  local key = P .. ':job:' .. id
  local head = redis.pcall('HMGET', key, 'status', 'type', 'origin', 'quarantined', 'ledger')
  if not head.err and head[1] and not is_recorded(P, id, head[2] or '', head[5]) then
    return
  end
  exhume(P, id)
  if head.err or not is_letter(head[1], head[4]) or (head[2] or '') == '' then
    return
  end
  redis.call('ZREM', P .. ':fleet:ended:failed:' .. head[2], id)
  if redis.call('EXISTS', key .. ':dependents') == 0 then
    if head[5] then
      keep_late_pushes_out(P, id)
    end
    redis.call('ZREM', P .. ':failed:' .. (head[3] or ''), id)
    redis.call('UNLINK', key, P .. ':results:' .. id, P .. ':fleet:log:' .. id, head[5] and key or P .. ':fleet:steps:' .. id)
  end
end

local too_old = redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. string.format('%d', now - age), 'LIMIT', 0, at_once)
for _, id in ipairs(too_old) do
  drop(id)
end
local over = math.min(redis.call('ZCARD', index) - most, at_once - #too_old)
local too_many = over > 0 and redis.call('ZRANGE', index, 0, over - 1) or {}
for _, id in ipairs(too_many) do
  drop(id)
end

if checks then
  local from = tonumber(redis.call('GET', place) or '0')
  local entries = redis.call('ZRANGEBYSCORE', index, '(' .. string.format('%.6f', from), '+inf', 'WITHSCORES', 'LIMIT', 0, at_once)
  for n = 1, #entries, 2 do
    local head = redis.pcall('HMGET', P .. ':job:' .. entries[n], 'status', 'quarantined')
    if head.err or is_letter(head[1], head[2]) == false then
      exhume(P, entries[n])
    end
  end
  redis.call('SET', place, #entries < 2 * at_once and '0' or entries[#entries], 'EX', CHECKED_KEPT)
end
return #too_old + #too_many
