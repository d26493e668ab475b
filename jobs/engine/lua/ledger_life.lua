#!lua flags=allow-oom
-- Which server's data the ledger was compared with last, and how far that had told of durable jobs. A server that comes back
-- with older data, or a replica that has taken over, has another name than the one that is noted in its data.
-- What is noted never expires: data that lay in a file for months is compared as well.
-- ARGV: prefix, name of the server, 1 when its data was compared just now, the highest time (ms) that rows were told of.
-- Returns same, new (nothing was noted) or other, and the id up to which the stream had told when that was noted.
local P, server, is_compared, LOST = ARGV[1], ARGV[2], ARGV[3] == '1', 2000000
local key, stream, tokens = P .. ':fleet:ledger-server', P .. ':fleet:ledger', P .. ':fleet:tokens'
-- What is no such note was written by somebody else, and counts for nothing.
local note = redis.pcall('GET', key)
local noted, told = (type(note) == 'string' and note or ''):match('^(%S+) (%d+%-%d+)$')

-- Its clock may be behind that of the server before: what the stream tells has to be newer than what that one told, and
-- tokens higher than those of the moments that are lost.
local function go_on_behind(ms)
  redis.pcall('XADD', stream, string.format('%.0f-0', ms + 1), 'jobs', '[]')
  local given = redis.pcall('HGET', tokens, 'last')
  local last = type(given) == 'string' and tonumber(given)
  if last then
    redis.call('HSET', tokens, 'last', string.format('%.0f', last + LOST))
  end
end

if noted and noted ~= server and not is_compared then
  return {'other', told}
end
if noted ~= server and is_compared then
  go_on_behind(tonumber(ARGV[4]))
end
local about, last = redis.pcall('XINFO', 'STREAM', stream), '0-0'
for n = 1, about.err and 0 or #about, 2 do
  last = about[n] == 'last-generated-id' and about[n + 1] or last
end
redis.call('SET', key, server .. ' ' .. last)
return {noted and 'same' or 'new', last}
