-- Progress and log lines of running jobs, each only while its lease is held. No allow-oom: a full Redis drops them.
-- ARGV: prefix, seconds to keep log lines, how many lines, then 6 a report: kind (progress or log), id, execution, type,
--       attempt, value (JSON). Returns how many were written.
--include lib_events
local P, keep, lines, written = ARGV[1], ARGV[2], ARGV[3], 0

local function write(at)
  local kind, id, execution, value = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 5]
  if execution == '' or redis.call('ZSCORE', P .. ':fleet:leases', id .. ':' .. execution) then
    written = written + 1
    if kind == 'log' then
      redis.call('XADD', P .. ':fleet:log:' .. id, 'MAXLEN', '~', lines, '*', 'line', value)
      redis.call('EXPIRE', P .. ':fleet:log:' .. id, keep)
    elseif redis.call('EXISTS', P .. ':job:' .. id) == 1 then
      redis.call('HSET', P .. ':job:' .. id, 'progress', value)
      local topics = redis.call('HGET', P .. ':job:' .. id, 'topics')
      if topics and topics ~= '' then
        local head = '{"job_id":"' .. id .. '","type":' .. cjson.encode(ARGV[at + 3]) .. ',"attempt":' .. ARGV[at + 4]
        emit(P, topics, 'job:progress', head .. ',' .. value:sub(2))
      end
    end
  end
end

for at = 4, #ARGV, 6 do
  pcall(write, at)
end
return written
