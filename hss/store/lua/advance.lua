-- advance: gives a node a run of sequence numbers, and reads the record that goes with them.
-- KEYS[1] the record; ARGV node, count, time in clock units, SEQ of the SIM after a checked AUTS or -1,
--   largest jump that the SIM accepts, largest SEQ, number of IND values
-- Returns {profile, sealed keys, first SEQ, IND}; {} for an unknown SIM; {''} when SEQ is used up.
local r = redis.call('HMGET', KEYS[1], 'v', 'profile', 'key', 'seq', 'seq0', 't0', 'i:' .. ARGV[1])
if not r[1] then
  return {}
end
if r[1] ~= '1' then
  return redis.error_reply('record version ' .. r[1])
end
local count, now, sim = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local jump, most, inds = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local seq, seq0, t0 = tonumber(r[4]), tonumber(r[5]), tonumber(r[6])

-- TS 33.102 C.1.1.3: at least the clock's value. The clock counts from seq0 at t0, so that a new card is not asked to
-- jump over decades.
local first = math.max(seq + 1, seq0 + (now - t0))
-- TS 33.102 6.3.5: SEQ is set to the SIM's only if the SIM would refuse what comes next.
if sim >= 0 and (first <= sim or first - sim > jump) then
  first, seq0, t0 = sim + 1, sim, now
  redis.call('HSET', KEYS[1], 'seq0', string.format('%.0f', seq0), 't0', string.format('%.0f', t0))
end
local last = first + count - 1
if last > most then
  return {''}
end
redis.call('HSET', KEYS[1], 'seq', string.format('%.0f', last))

-- An IND of its own for each of the last so many nodes.
local ind = r[7]
if not ind then
  ind = string.format('%.0f', (redis.call('HINCRBY', KEYS[1], 'nodes', 1) - 1) % inds)
  local old = redis.call('HGET', KEYS[1], 'n:' .. ind)
  if old then
    redis.call('HDEL', KEYS[1], 'i:' .. old)
  end
  redis.call('HSET', KEYS[1], 'n:' .. ind, ARGV[1], 'i:' .. ARGV[1], ind)
end
return {r[2], r[3], string.format('%.0f', first), ind}
