-- remove: takes a SIM out.
-- KEYS[1] the record, KEYS[2] its PDN-GWs
-- Returns {registration of the MME or '', of the SGSN or '', profile}; {} for an unknown SIM.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local r = redis.call('HMGET', KEYS[1], 'mme', 'sgsn', 'profile')
redis.call('DEL', KEYS[1], KEYS[2])
return {r[1] or '', r[2] or '', r[3] or ''}
