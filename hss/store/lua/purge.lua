-- purge: marks the registrations of a node as purged.
-- KEYS[1] the record; ARGV Origin-Host in lower case, sides that it has purged
-- Returns {'1' if it was the registered MME else '0', the same for the SGSN}; {} for an unknown SIM.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local asked, done = {}, {}
for i = 2, #ARGV do
  asked[ARGV[i]] = true
end
for i, side in ipairs({'mme', 'sgsn'}) do
  done[i] = '0'
  local text = asked[side] and redis.call('HGET', KEYS[1], side)
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
