-- Accept a workflow whole: all its jobs, deferred, and those released that wait for nothing. Does nothing for an id that
-- exists, so that it can be sent again.
-- ARGV: prefix, id, now (RFC 3339), fields of its hash (JSON object: tenant, name, topic, kept, digest, total ...), what is
--       known of an earlier life of it (JSON: head, state, results, as its hashes had it) or '', then as lib_workflow_begin
--       says, and at the end there may be a fence, 2 more: a life of Redis, and the time (epoch s) after which the call comes
--       too late.
-- Returns '' when it was accepted, the tenant and digest of the one that is there: {tenant, digest}, or {late}.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_workflow_begin
local P, id, at = ARGV[1], ARGV[2], clock_of(ARGV[3])
local key, nodes, known = P .. ':fleet:workflow:' .. id, read_nodes(6), ARGV[5] ~= '' and cjson.decode(ARGV[5]) or nil

-- Whoever was stopped since it saw that the ledger's row is open may be about to begin again what has ended meanwhile.
local function is_late()
  if (#ARGV - 6 - tonumber(ARGV[6])) % 6 ~= 2 then
    return false
  end
  local time = redis.call('TIME')
  local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
  return redis.call('GET', P .. ':fleet:ledger-epoch') ~= ARGV[#ARGV - 1] or now > tonumber(ARGV[#ARGV])
end

-- It goes on where it was: what was under way begins anew, also a compensation.
local function go_on(flow)
  for _, name in ipairs({'status', 'cancelled_at', 'undo', 'undoing', 'ends', 'round', 'created_at', 'bytes'}) do
    if known.head[name] then
      redis.call('HSET', key, name, known.head[name])
    end
  end
  flow.status = known.head.status
  count_ended(flow)
  local left = known.head.undoing and cjson.decode(known.head.undoing) or {}
  for name, state in pairs(known.state) do
    local undone = LIVE_NODE[state] and name:match('^s:undo:(.*)$')
    if undone then
      table.insert(left, 1, undone)
      redis.call('HSET', key, 'undoing', cjson.encode(left))
    end
  end
end

return tell_together(function()
  if redis.call('EXISTS', key) == 1 then
    return redis.call('HMGET', key, 'tenant', 'digest')
  elseif is_late() then
    return {'late'}
  end
  for name, value in pairs(cjson.decode(ARGV[4])) do
    redis.call('HSET', key, name, value)
  end
  redis.call('HSET', key, 'status', 'running', 'done', '0', 'bad', '0', 'ends', '0', 'round', '1', 'created_at', at.now)
  local flow = open_workflow(P, id, at)
  local ok, ready, work = pcall(write_nodes, flow, nodes, known)
  if not ok then
    take_back(flow, nodes)
    for _, part in ipairs(WORKFLOW_PARTS) do
      redis.call('UNLINK', key .. part)
    end
    error(ready, 0)
  end
  if known then
    go_on(flow)
  end
  tell_workflow(flow, 'workflow:started', {total = tonumber(redis.call('HGET', key, 'total'))})
  if known and known.head.cancelled_at then
    ready, work = {}, {}
    for _, node in ipairs(nodes) do
      work[#work + 1] = not node.is_undo and {node.name, 'cancelled', reason('Cancelled', 'the workflow was cancelled')} or nil
    end
  end
  begin_nodes(flow, ready, work)
  if flow.status == 'compensating' then
    pcall(undo_next, flow)
  end
  return ''
end)
