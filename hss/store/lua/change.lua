-- change: puts a profile in the place of another.
-- KEYS[1] the record; ARGV revision of the profile that was read, profile
-- Returns {registration of the MME or '', of the SGSN or ''}; {} for an unknown SIM; {'changed'} when the profile is
-- another by now.
local r = read(KEYS[1])
if not r then
  return {}
end
if r.rev ~= tonumber(ARGV[1]) then
  return {'changed'}
end
r.rev, r.profile = (r.rev + 1) % 2 ^ 32, ARGV[2]
write(KEYS[1], r)
return {r.mme, r.sgsn}
