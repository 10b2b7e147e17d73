-- index: changes which IMSIs one name stands for.
-- KEYS[1] the bucket; ARGV name, IMSI, '1' to put in or '0' to take out
-- The value is the IMSIs with a space between; mostly it is one, which Redis then keeps as a number. Returns 1.
local old = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local kept = {}
for imsi in string.gmatch(old, '%d+') do
  if imsi ~= ARGV[2] then
    kept[#kept + 1] = imsi
  end
end
if ARGV[3] == '1' then
  kept[#kept + 1] = ARGV[2]
  table.sort(kept)
end
local new = table.concat(kept, ' ')
if new == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif new ~= old then
  redis.call('HSET', KEYS[1], ARGV[1], new)
end
return 1
