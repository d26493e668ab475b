-- Accept a workflow whole: all its jobs, deferred, and those released that wait for nothing. Does nothing for an id that
-- exists, so that it can be sent again.
-- ARGV: prefix, id, now (RFC 3339), fields of its hash (JSON object: tenant, name, topic, kept, digest, total ...), then as
--       lib_workflow_begin says.
-- Returns '' when it was accepted, and else the tenant and digest of the one that is there: {tenant, digest}.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_workflow_begin
local P, id, at = ARGV[1], ARGV[2], clock_of(ARGV[3])
local key, nodes = P .. ':fleet:workflow:' .. id, read_nodes(5)

return tell_together(function()
  if redis.call('EXISTS', key) == 1 then
    return redis.call('HMGET', key, 'tenant', 'digest')
  end
  for name, value in pairs(cjson.decode(ARGV[4])) do
    redis.call('HSET', key, name, value)
  end
  redis.call('HSET', key, 'status', 'running', 'done', '0', 'bad', '0', 'ends', '0', 'round', '1', 'created_at', at.now)
  local flow = open_workflow(P, id, at)
  local ok, ready, work = pcall(write_nodes, flow, nodes)
  if not ok then
    take_back(flow, nodes)
    for _, part in ipairs(WORKFLOW_PARTS) do
      redis.call('UNLINK', key .. part)
    end
    error(ready, 0)
  end
  tell_workflow(flow, 'workflow:started', {total = tonumber(redis.call('HGET', key, 'total'))})
  begin_nodes(flow, ready, work)
  return ''
end)
