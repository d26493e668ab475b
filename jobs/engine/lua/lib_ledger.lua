-- What is said of durable jobs (hashes with a field `ledger`) to the ledger, all of a call in one entry of its stream.
-- Whoever cuts the stream off finds the rest by an audit. Hashes outlive the acknowledgement, or else this many seconds.
local LEDGER_KEPT, LEDGER_MOST = 30 * 86400, 20000
local for_ledger = {}

-- The job as it is from now on; times are RFC 3339 or epoch seconds, `error` is JSON, any of them may be nothing.
local function tell_ledger(id, job_type, state, attempts, worker, started, ended, error)
  for_ledger[#for_ledger + 1] = {id, job_type or '', state, tonumber(attempts or '0') or 0, worker or '', started or '',
    ended or '', error or ''}
end

local function send_to_ledger(P)
  if #for_ledger > 0 then
    redis.call('XADD', P .. ':fleet:ledger', 'MAXLEN', '~', LEDGER_MOST, '*', 'jobs', cjson.encode(for_ledger))
    for_ledger = {}
  end
end
