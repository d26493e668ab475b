-- Makes of a batch's run an ordinary one, when it takes longer or has something to tell.
-- Its event `job:started`, which otherwise comes together with that of its end.
local function tell_start(P, id, execution)
  local head = redis.call('HMGET', P .. ':job:' .. id, 'topics', 'type', 'attempts')
  if head[1] and head[1] ~= '' then
    local data = {type = head[2] or '', attempt = tonumber(head[3] or '1') or 1, job_id = id}
    pcall(emit, P, head[1], 'job:started', cjson.encode(data))
  end
  mark_in_batch(P, id, execution, 't')
end

-- Give it a lease of its own and its entry in RQ's registry; `letter` is what its batch says of it.
local function lease_apart(P, id, execution, queue, letter, lease_until, wip_until)
  if letter == 'u' then
    tell_start(P, id, execution)
  end
  local member = id .. ':' .. execution
  redis.call('ZADD', P .. ':fleet:leases', lease_until, member)
  redis.pcall('ZADD', P .. ':wip:' .. queue, wip_until, member)
  mark_in_batch(P, id, execution, '-')
end
