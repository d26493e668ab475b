-- What is taken out of a schedule because nobody can read its job: listed with its reason for 30 days, the newest 10,000.
local ASIDE = {kept = 30 * 86400, most = 10000, at_once = 100}

local function put_aside(P, id, schedule, reason, seconds)
  local aside, reasons = P .. ':fleet:scheduler:broken', P .. ':fleet:scheduler:broken:reasons'
  redis.call('ZADD', aside, seconds, id)
  redis.call('HSET', reasons, id, cjson.encode({schedule = schedule, reason = reason}))
  local old = redis.call('ZRANGEBYSCORE', aside, '-inf', string.format('%d', tonumber(seconds) - ASIDE.kept), 'LIMIT', 0, ASIDE.at_once)
  local over = math.min(redis.call('ZCARD', aside) - ASIDE.most, ASIDE.at_once)
  local gone = #old > 0 and old or (over > 0 and redis.call('ZRANGE', aside, 0, over - 1)) or {}
  if #gone > 0 then
    redis.call('ZREM', aside, unpack(gone))
    redis.call('HDEL', reasons, unpack(gone))
  end
  redis.call('EXPIRE', aside, ASIDE.kept)
  redis.call('EXPIRE', reasons, ASIDE.kept)
end
