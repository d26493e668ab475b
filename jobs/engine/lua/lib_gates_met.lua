-- Part of lease.lua: the gates, for calls that meet any.
-- Most calls meet none, and every function that a script makes costs.
local function gates_library()
--include lib_passing
  return {met = gates_met, may_pass = may_pass, enter = enter_gates, of = gates_of, sent_away = sent_away,
    follows_others = follows_others, admit_due = admit_due, next_due = next_due, send_lines = send_lines,
    windows = windows_of(declared.windows)}
end

local function gates()
  gates_known = gates_known or gates_library()
  return gates_known
end

local has_windows = next(declared.windows) ~= nil
