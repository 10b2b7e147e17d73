-- remove: takes a SIM out.
-- KEYS[1] the record, KEYS[2] its PDN-GWs
-- Returns {registration of the MME or '', of the SGSN or '', profile}; {} for an unknown SIM.
local r = read(KEYS[1])
if not r then
  return {}
end
redis.call('DEL', KEYS[1], KEYS[2])
return {r.mme, r.sgsn, r.profile}
