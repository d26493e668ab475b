-- Part of sample.lua: how the jobs of lists and sorted sets divide among lanes and types. Of what is long, some from
-- everywhere stand for all: it is cut into equal parts, and in each a few are looked at from a random place on (even
-- distances would see but a part of what recurs). So the work of a call is bounded, and what is short is counted exactly.
local LOOKED_AT, AT_ONCE, MOST_NAMES = 200, 5, 200

-- Looks at ids of one place and adds what they stand for to `counts`, a table {["lane:x waiting"] = n}.
-- read(first, last) returns ids; `words` are the states to count them for, `most` how many to look at.
local function look_at(counts, length, most, read, words)
  most = math.min(length, most)
  local pieces = length == most and 1 or math.max(1, math.floor(most / AT_ONCE))
  local size, seen, share = math.floor(most / pieces), {}, nil
  for piece = 0, pieces - 1 do
    local first, last = math.floor(piece * length / pieces), math.floor((piece + 1) * length / pieces)
    first = first + math.random(0, math.max(0, last - first - size))
    for _, id in ipairs(read(first, first + size - 1)) do
      seen[#seen + 1] = id
    end
  end
  share = #seen > 0 and length / #seen or 0
  for _, id in ipairs(seen) do
    local head = redis.pcall('HMGET', P .. ':job:' .. id, 'lane', 'type')
    local lane = not head.err and head[1] or 'default'
    local kind = not head.err and head[2] and head[2] ~= '' and head[2] or 'rq'
    for _, scope in ipairs({'lane:' .. lane, 'type:' .. kind}) do
      for _, word in ipairs(scope:match('^[%w:_.-]+$') and #scope <= 120 and words or {}) do
        counts[scope .. ' ' .. word] = (counts[scope .. ' ' .. word] or 0) + share
      end
    end
  end
end

-- A list's ids.
local function look_at_list(counts, key, most, words)
  local length = redis.call('LLEN', key)
  if length > 0 then
    look_at(counts, length, most, function(first, last)
      return redis.call('LRANGE', key, first, last)
    end, words)
  end
end

-- A registry's ids, of which RQ writes those under way with their executions behind a colon.
local function look_at_registry(counts, key, words)
  local length = redis.call('ZCARD', key)
  if length > 0 then
    look_at(counts, length, LOOKED_AT, function(first, last)
      local ids = redis.call('ZRANGE', key, first, last)
      for at, member in ipairs(ids) do
        ids[at] = member:match('^[^:]*')
      end
      return ids
    end, words)
  end
end

-- What there is of one queue; `lists` are those in which its jobs wait, its own first.
local function look_at_queue(counts, queue, lists)
  look_at_list(counts, lists[1], LOOKED_AT, {'waiting'})
  for n = 2, #lists do
    look_at_list(counts, lists[n], math.max(1, math.floor(5 * LOOKED_AT / #lists)), {'waiting', 'parked'})
  end
  look_at_registry(counts, P .. ':wip:' .. queue, {'active'})
  look_at_registry(counts, P .. ':scheduled:' .. queue, {'delayed'})
end

-- The largest of what was counted, as many names as are kept.
local function largest(counts)
  local fields = {}
  for field in pairs(counts) do
    fields[#fields + 1] = field
  end
  table.sort(fields, function(one, other)
    return counts[one] > counts[other] or (counts[one] == counts[other] and one < other)
  end)
  for at = #fields, MOST_NAMES + 1, -1 do
    fields[at] = nil
  end
  return fields
end
