-- advance: gives a node a run of sequence numbers, and reads the record that goes with them.
-- KEYS[1] the record; ARGV node, count, time in clock units, SEQ of the SIM after a checked AUTS or -1,
--   largest jump that the SIM accepts, largest SEQ, number of IND values
-- Returns {profile, sealed keys, first SEQ, IND}; {} for an unknown SIM; {''} when SEQ is used up.
-- Numbers stay below 2^53, so that Lua holds them exactly and Redis writes them as integers.
local r = redis.call('HMGET', KEYS[1], 'v', 'profile', 'key', 'seq', 'seq0', 't0', 'i:' .. ARGV[1])
if not r[1] then
  return {}
end
if r[1] ~= '1' then
  return redis.error_reply('record version ' .. r[1])
end
local now, sim = tonumber(ARGV[3]), tonumber(ARGV[4])

-- TS 33.102 C.1.1.3: at least the clock's value. The clock counts from seq0 at t0, so that a new card is not asked to
-- jump over decades.
local first = r[4] + 1
local floor = r[5] + (now - r[6])
if floor > first then
  first = floor
end
-- TS 33.102 6.3.5: SEQ is set to the SIM's only if the SIM would refuse what comes next.
if sim >= 0 and (first <= sim or first - sim > tonumber(ARGV[5])) then
  first = sim + 1
  redis.call('HSET', KEYS[1], 'seq0', sim, 't0', now)
end
local last = first + ARGV[2] - 1
if last > tonumber(ARGV[6]) then
  return {''}
end

-- An IND of its own for each of the last so many nodes.
local ind = r[7]
if not ind then
  ind = (redis.call('HINCRBY', KEYS[1], 'nodes', 1) - 1) % tonumber(ARGV[7])
  local old = redis.call('HGET', KEYS[1], 'n:' .. ind)
  if old then
    redis.call('HDEL', KEYS[1], 'i:' .. old)
  end
  redis.call('HSET', KEYS[1], 'seq', last, 'n:' .. ind, ARGV[1], 'i:' .. ARGV[1], ind)
else
  redis.call('HSET', KEYS[1], 'seq', last)
end
return {r[2], r[3], string.format('%.0f', first), tostring(ind)}
