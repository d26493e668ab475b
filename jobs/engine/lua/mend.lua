#!lua flags=allow-oom
-- Put aside the keys of ours that somebody made another kind of key, and make anew what others can be made of. Safe to repeat.
-- ARGV: prefix, lease (ms), kinds (JSON: key after `PREFIX:fleet:` to its kind), requests whose batches there are (JSON
--       list), of sets what is to be in them again (JSON: key after `PREFIX:fleet:` to a list).
-- Returns the names of the keys that were put aside.
--include lib_leases
--include lib_strange
local P, lease_ms = ARGV[1], tonumber(ARGV[2])
local kinds, requests, members = cjson.decode(ARGV[3]), cjson.decode(ARGV[4]), cjson.decode(ARGV[5])
local time = redis.call('TIME')
local lease_until = string.format('%d', tonumber(time[1]) * 1000 + lease_ms)
local FLEET, aside = P .. ':fleet:', {}

-- The runs that RQ's registries know of: the living renew their leases, those of the dead are given back when they end.
local function lease_anew(queue)
  local wip = redis.pcall('ZRANGE', P .. ':wip:' .. queue, 0, -1)
  for _, member in ipairs(wip.err and {} or wip) do
    local id, execution = member:match('^(.*):([^:]*)$')
    local head = id and redis.pcall('HMGET', P .. ':job:' .. id, 'status', 'execution') or {}
    if head[1] == 'started' and head[2] == execution and not letter_of(P, id, execution) then
      redis.call('ZADD', FLEET .. 'leases', lease_until, member)
    end
  end
end

local function queue_names()
  local known, names = redis.pcall('SMEMBERS', P .. ':queues'), {}
  for n, key in ipairs(known.err and {} or known) do
    names[n] = key:sub(#P + #':queue:' + 1)
  end
  return names
end

local anew = {
  leases = function()
    for _, queue in ipairs(queue_names()) do
      lease_anew(queue)
    end
  end,
  batches = function()
    for _, request in ipairs(requests) do
      if redis.call('EXISTS', batch_key(P, request)) == 1 then
        redis.call('ZADD', FLEET .. 'batches', lease_until, request)
      end
    end
  end,
  workers = function()
    for _, worker in ipairs(redis.call('HKEYS', FLEET .. 'worker-queues')) do
      redis.call('ZADD', FLEET .. 'workers', lease_until, worker)
    end
  end,
  -- The living say for themselves which queues they have; a dead one's inboxes are looked for under any name.
  ['worker-queues'] = function()
    local all = queue_names()
    for _, worker in ipairs(#all > 0 and redis.call('ZRANGE', FLEET .. 'workers', 0, -1) or {}) do
      redis.call('HSET', FLEET .. 'worker-queues', worker, cjson.encode(all))
    end
  end,
}

for name, kind in pairs(kinds) do
  local found = redis.call('TYPE', FLEET .. name).ok
  if found ~= kind and found ~= 'none' then
    put_strange_aside(FLEET .. name)
    aside[#aside + 1] = name
  end
end
for _, name in ipairs(aside) do
  if anew[name] then
    anew[name]()
  elseif #(members[name] or {}) > 0 then
    redis.call('SADD', FLEET .. name, unpack(members[name]))
  end
end
return aside
