-- register: puts a registration in the place of another, and keeps what the nodes before are to be told.
-- KEYS[1] the record, KEYS[2] its requests, KEYS[3] the node's that were worked on; ARGV side (mme or sgsn), revision of the profile by which it was allowed,
--   registration, Origin-Host in lower case, holder of the side, holder of the other or '*' when it stays, '1' to go on
--   without the answer to a CLR, name of the node's request or '', then pairs of a request's id and itself
-- Returns {'done'}; {} for an unknown SIM; {'changed'} when the profile or a holder is another by now; {'pending'} when
-- the node has not answered our CLR about this SIM yet.
local r = read(KEYS[1])
if not r then
  return {}
end
local other = ARGV[1] == 'mme' and 'sgsn' or 'mme'
if r.rev ~= tonumber(ARGV[2]) or holder(r[ARGV[1]]) ~= ARGV[5] or (ARGV[6] ~= '*' and holder(r[other]) ~= ARGV[6]) then
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
  r[other] = ''
end
r[ARGV[1]] = ARGV[3]
write(KEYS[1], r)
if ARGV[8] ~= '' then
  remember(KEYS[3], ARGV[8])
end
for i = 9, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
return {'done'}
