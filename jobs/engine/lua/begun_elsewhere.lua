-- A job was begun by RQ's own worker, which knows of no gates: its tickets go to the next ones, so that these are queued.
-- ARGV: prefix, id, rate windows (KEY=COUNT ...). Safe to repeat.
--include lib_gates
local P, id = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local queue, gates, filed = unpack(redis.call('HMGET', P .. ':job:' .. id, 'origin', 'gates', 'filed'))
leave_line(P, id, queue or 'default', gates_of(gates, ARGV[3]), filed, ms)
return 1
