-- A run that died with its worker, in the job's history beside those that raised.
--include lib_epoch
local LOST = {error = '{"type":"WorkerLost","message":"its worker was lost"}', text = 'WorkerLost: its worker was lost', most = '100'}

-- `final` when it was held against the job; results that nobody can write to keep no job from being given back.
local function record_lost(P, id, execution, worker, attempt, started_at, ended, final)
  redis.pcall('XADD', P .. ':results:' .. id, 'MAXLEN', LOST.most, '*', 'type', final and '2' or '4', 'worker_name', worker,
    'execution_id', execution, 'execution_started_at', epoch_of(started_at) or ended, 'execution_ended_at', ended,
    'attempt', attempt, 'error', LOST.error, 'text', LOST.text)
end
