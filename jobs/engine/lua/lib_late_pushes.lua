-- A durable job that is thrown away may have been claimed before its end by somebody who was stopped since, and is about to
-- push it (ledger/fences.py says how long that counts, LAPSES). Whoever claims it from now on may.
local function keep_late_pushes_out(P, id)
  local LAPSES, KEPT, time = 5, 12, redis.call('TIME')
  local claimed_before = tonumber(time[1]) + tonumber(time[2]) / 1000000 + LAPSES
  redis.call('SET', P .. ':fleet:discarded:' .. id, string.format('%.6f', claimed_before), 'EX', KEPT)
end
