-- advance: gives nodes runs of sequence numbers, and reads the records that go with them; one run for each key.
-- KEYS the records; ARGV largest jump that a SIM accepts, largest SEQ, then for each key in one string 16 octets: the node (4),
--   how many numbers (1), time in clock units (5), SEQ of the SIM after a checked AUTS or 2^48-1 for none (6)
-- Returns for each key its record as it was, and then in one string for each key 7 octets: 0 and the first SQN (6); 1 for an
-- unknown SIM, 2 when SEQ is used up, 3 for a record of another version. Every string costs Redis a hash of all of it: few are
-- made.
local find, sub, char, call = string.find, string.sub, string.char, redis.call
local parse, pack = struct.unpack, struct.pack
local jump, most, runs = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local none = 2 ^ 48 - 1

-- Returns the place of a node among the first so many of a record, from 0; nil when it is not there.
local function placeOf(octets, tag, nodes)
  local at, place = headOctets, nil
  repeat
    at = find(octets, tag, at + 1, true)
    place = at and (at - headOctets - 1) / 4
    if not place or place >= nodes then
      return nil
    end
  until place % 1 == 0
  return place
end

-- One MGET costs Redis less than a GET for each key. What it cannot have is read by octetsAt: no string, or one that this call
-- has changed since, as a SIM may be asked for twice.
local answer, changed, given = call('MGET', unpack(KEYS)), {}, {}
for i = 1, #KEYS do
  local key = KEYS[i]
  local octets, state, sqn = answer[i], 1, 0
  local version, seq, lead, slot, nodes
  if not octets or changed[key] then
    octets = octetsAt(key)
  end
  if octets and #octets >= headOctets then
    version, seq, lead, slot, nodes = parse('>BI6I6BB', octets)
  end
  if version == layout then
    local tag, count, now, sim = parse('>c4BI5I6', runs, 16 * i - 15)
    lead = lead - leadBias
    local moved = false

    -- TS 33.102 C.1.1.3: at least the clock's value. The clock counts from the SEQ that the SIM had when it was added, so
    -- that a new card is not asked to jump over decades.
    local first = seq + 1
    if now + lead > first then
      first = now + lead
    end
    -- TS 33.102 6.3.5: SEQ is set to the SIM's only if the SIM would refuse what comes next.
    if sim ~= none and (first <= sim or first - sim > jump) then
      first, lead, moved = sim + 1, sim - now, true
    end
    local last = first + count - 1
    if last > most then
      state = 2
    else
      -- An IND of its own for each of the last so many nodes.
      local ind = placeOf(octets, tag, nodes)
      if ind and not moved then
        call('SETRANGE', key, '1', pack('>I6', last))
      else
        local tags, room = sub(octets, headOctets + 1, headOctets + 4 * nodes), roomOf(nodes)
        if not ind then
          ind = slot
          tags = sub(tags, 1, 4 * ind) .. tag .. sub(tags, 4 * ind + 5)
          slot = (ind + 1) % inds
        end
        local begin = pack('>I6I6BB', last, lead + leadBias, slot, #tags / 4) .. sub(octets, 16, headOctets) .. tags
        if #tags <= room then
          call('SETRANGE', key, '1', begin)
        else
          call('SET', key, char(layout) .. begin .. string.rep('\0', roomOf(#tags / 4) - #tags) .. sub(octets, headOctets + room + 1))
        end
      end
      changed[key], state, sqn = true, 0, first * inds + ind
    end
  elseif octets ~= false then
    octets, state = '', 3
  end
  answer[i], given[2 * i - 1], given[2 * i] = octets or '', state, sqn
end
answer[#KEYS + 1] = pack('>' .. string.rep('BI6', #KEYS), unpack(given))
return answer
