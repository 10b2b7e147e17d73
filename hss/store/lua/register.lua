-- register: puts a registration in the place of another, and keeps what the nodes before are to be told.
-- KEYS[1] the record, KEYS[2] its requests; ARGV side (mme or sgsn), revision of the profile by which it was allowed,
--   registration, Origin-Host in lower case, holder of the side, holder of sgsn or '*' when it stays, '1' to go on
--   without the answer to a CLR, then pairs of a request's id and itself
-- A holder is a host in lower case with ! behind it when it has purged the SIM; '' when there is none.
-- Returns {'done'}; {} for an unknown SIM; {'changed'} when the profile or a holder is another by now; {'pending'} when
-- the node has not answered our CLR about this SIM yet.
local function holder(text)
  if not text then
    return ''
  end
  local r = cjson.decode(text)
  return string.lower(r.host) .. (r.purged and '!' or '')
end
local r = redis.call('HMGET', KEYS[1], 'rev', ARGV[1], 'sgsn')
if not r[1] then
  return {}
end
if r[1] ~= ARGV[2] or holder(r[2]) ~= ARGV[5] or (ARGV[6] ~= '*' and holder(r[3]) ~= ARGV[6]) then
  return {'changed'}
end
local clr = 'clr:' .. ARGV[1] .. ':' .. ARGV[4]
if redis.call('HEXISTS', KEYS[2], clr) == 1 then
  if ARGV[7] ~= '1' then
    return {'pending'}
  end
  redis.call('HDEL', KEYS[2], clr, 'n:' .. clr)
end
if ARGV[6] ~= '*' then
  redis.call('HDEL', KEYS[1], 'sgsn')
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
for i = 8, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
return {'done'}
