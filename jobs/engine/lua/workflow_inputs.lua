#!lua flags=allow-oom
-- What a node of a workflow is given of others: how each is, why it ended badly, and its result. Changes nothing.
-- ARGV: prefix, workflow, most bytes of all results, then nodes.
-- Returns 3 a node: its state or '', why (JSON) or '', its result (base64) or ''; '!' for one that was too large to keep.
-- Or the word `large` when all results together are over the limit.
local P, key, room, told = ARGV[1], ARGV[1] .. ':fleet:workflow:' .. ARGV[2], tonumber(ARGV[3]), {}

-- A job that RQ's own worker released runs before the result of its parent was kept.
local function result_of(node)
  local kept = redis.call('HSTRLEN', key .. ':results', node)
  room = room - kept
  if kept > 0 or room < 0 then
    return room >= 0 and redis.call('HGET', key .. ':results', node) or ''
  end
  local id, value = redis.call('HGET', key .. ':state', 'j:' .. node), ''
  local last = id and redis.call('XREVRANGE', P .. ':results:' .. id, '+', '-', 'COUNT', 1)[1]
  for n = 1, last and #last[2] or 0, 2 do
    value = last[2][n] == 'return_value' and last[2][n + 1] or value
  end
  room = room - #value
  return value
end

for at = 4, #ARGV do
  local node, n = ARGV[at], #told
  local state, why = unpack(redis.call('HMGET', key .. ':state', 's:' .. node, 'e:' .. node))
  local id = redis.call('HGET', key .. ':state', 'j:' .. node)
  local finished = state == 'completed' or (id and redis.call('HGET', P .. ':job:' .. id, 'status') == 'finished')
  told[n + 1], told[n + 2], told[n + 3] = finished and 'completed' or state or '', why or '', finished and result_of(node) or ''
  if room < 0 then
    return 'large'
  end
end
return told
