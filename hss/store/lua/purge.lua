-- purge: marks the registrations of a node as purged.
-- KEYS[1] the record; ARGV Origin-Host in lower case
-- Returns {'1' if it was the registered MME else '0', the same for the SGSN}; {} for an unknown SIM.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local done = {}
for i, side in ipairs({'mme', 'sgsn'}) do
  done[i] = '0'
  local text = redis.call('HGET', KEYS[1], side)
  if text then
    local registration = cjson.decode(text)
    if string.lower(registration.host) == ARGV[1] then
      registration.purged = true
      redis.call('HSET', KEYS[1], side, cjson.encode(registration))
      done[i] = '1'
    end
  end
end
return done
