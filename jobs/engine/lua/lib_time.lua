-- RFC 3339 in UTC, of epoch seconds and a text of microseconds. The calendar: Howard Hinnant, chrono-compatible
-- low-level date algorithms, civil_from_days.
local function rfc3339(epoch, micro)
  local days, of_day = math.floor(epoch / 86400) + 719468, epoch % 86400
  local era = math.floor(days / 146097)
  local of_era = days - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local shifted = math.floor((5 * of_year + 2) / 153)
  local month = shifted + (shifted < 10 and 3 or -9)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year + era * 400 + (month < 3 and 1 or 0), month,
    of_year - math.floor((153 * shifted + 2) / 5) + 1, math.floor(of_day / 3600), math.floor(of_day / 60) % 60, of_day % 60, micro)
end
