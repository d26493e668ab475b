#!lua flags=allow-oom
-- Deferred jobs that nobody will ever release: of workflows that are gone, and plain RQ jobs whose parents have ended while
-- whoever should have looked after them died. Where all parents have finished, RQ's own maintenance enqueues them; where one
-- ended otherwise, or all are gone, somebody may run them again within a day, and then they are cancelled. One that is gone
-- beside others that finished counts as finished, as RQ itself has it: what fails stays for longer than what finishes.
-- Looks at AT_ONCE jobs of each queue, drawn at random, so that each is looked at soon. Safe to repeat.
-- ARGV: prefix, now (RFC 3339). Returns how many were released or cancelled.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_workflow
local P, at, stuck = ARGV[1], clock_of(ARGV[2]), ARGV[1] .. ':fleet:stuck'
local AT_ONCE, GRACE, GONE_FOR, KEPT, moved = 100, 86400, 60, 7 * 86400, 0
local OVER = {finished = 'well', failed = 'badly', canceled = 'badly', stopped = 'badly'}

-- A finished job's entry in its queue's registry may be there for longer than its hash.
local function has_finished(id)
  for _, key in ipairs(redis.call('SMEMBERS', P .. ':queues')) do
    if redis.call('ZSCORE', P .. ':finished:' .. key:sub(#P + #':queue:' + 1), id) then
      return true
    end
  end
end

-- Why a parent does not keep a job waiting any more: it ended well or badly, or is gone; nil while it may still end.
local function end_of_parent(parent, may_fail)
  local head = redis.pcall('HMGET', P .. ':job:' .. parent, 'status', 'quarantined')
  if head.err or head[2] then
    return 'badly'
  elseif not head[1] then
    return has_finished(parent) and 'well' or 'gone'
  end
  return head[1] == 'failed' and may_fail and 'well' or OVER[head[1]]
end

-- Parents forget a job in the same step, which RQ's own enqueueing of dependents watches.
local function let_go(id, queue, parents)
  for _, parent in ipairs(parents) do
    redis.call('SREM', P .. ':job:' .. parent .. ':dependents', id)
  end
  redis.call('ZREM', P .. ':deferred:' .. queue, id)
  redis.call('ZREM', stuck, id)
  moved = moved + 1
end

local function cancel_stuck(id, queue, parents)
  local key = P .. ':job:' .. id
  let_go(id, queue, parents)
  redis.call('HSET', key, 'status', 'canceled', 'ended_at', at.now, 'error',
    reason('ParentFailed', 'a job that it waited for failed, was cancelled or is gone, and nobody ran it again for a day'))
  redis.call('ZADD', P .. ':canceled:' .. queue, at.seconds + KEPT, id)
  redis.call('EXPIRE', key, KEPT)
  redis.call('EXPIRE', P .. ':job::' .. id .. ':dependencies', KEPT)
end

-- The set of a job's parents, or what its hash says where that is gone.
local function parents_of_plain(id, listed, first)
  local parents = redis.call('SMEMBERS', P .. ':job::' .. id .. ':dependencies')
  if #parents > 0 then
    return parents
  end
  local ok, known = pcall(cjson.decode, listed or '')
  for _, parent in ipairs(ok and type(known) == 'table' and known or {first or nil}) do
    parents[#parents + 1] = tostring(parent)
  end
  return parents
end

-- How many parents ended in which way; nil while one may still end.
local function count_ends(parents, may_fail)
  local ends = {well = 0, badly = 0, gone = 0}
  for _, parent in ipairs(parents) do
    local word = end_of_parent(parent, may_fail)
    if not word then
      return nil
    end
    ends[word] = ends[word] + 1
  end
  return ends
end

local function look_at_plain(id, queue)
  local may_fail, listed, first = unpack(
    redis.call('HMGET', P .. ':job:' .. id, 'allow_dependency_failures', 'dependency_ids', 'dependency_id'))
  local parents = parents_of_plain(id, listed, first)
  local ends = count_ends(parents, may_fail == '1')
  if not ends then
    return redis.call('ZREM', stuck, id)
  end
  redis.call('ZADD', stuck, 'NX', at.seconds, id)
  local since = at.seconds - tonumber(redis.call('ZSCORE', stuck, id))
  if ends.badly == 0 and ends.well > 0 and (ends.gone == 0 or since > GONE_FOR) then
    let_go(id, queue, parents)
    redis.call('HSET', P .. ':job:' .. id, 'status', 'ready_to_enqueue')
    redis.call('ZADD', P .. ':ready:' .. queue, at.seconds, id)
  elseif since > GRACE then
    cancel_stuck(id, queue, parents)
  end
end

local function look_at(id, queue)
  local head = redis.pcall('HMGET', P .. ':job:' .. id, 'workflow', 'node', 'status')
  if head.err then
    return
  elseif head[3] ~= 'deferred' then
    redis.call('ZREM', stuck, id)
    return redis.call('EXISTS', P .. ':job:' .. id) == 0 and redis.call('ZREM', P .. ':deferred:' .. queue, id)
  elseif not head[1] then
    return look_at_plain(id, queue)
  end
  local flow = {P = P, key = P .. ':fleet:workflow:' .. head[1], at = at}
  if of_node(flow, 'j', head[2] or '') ~= id then
    drop_job(flow, id, reason('Gone', 'its workflow is gone'))
    moved = moved + 1
  end
end

return tell_together(function()
  for _, key in ipairs(redis.call('SMEMBERS', P .. ':queues')) do
    local queue = key:sub(#P + #':queue:' + 1)
    for _, id in ipairs(redis.call('ZRANDMEMBER', P .. ':deferred:' .. queue, AT_ONCE)) do
      pcall(look_at, id, queue)
    end
  end
  redis.call('ZREMRANGEBYSCORE', stuck, '-inf', at.seconds - KEPT)
  return moved
end)
