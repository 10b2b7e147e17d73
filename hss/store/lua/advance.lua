-- advance: gives nodes runs of sequence numbers, and reads the records that go with them; one run for each key.
-- KEYS the records; ARGV largest jump that a SIM accepts, largest SEQ, then for each key 16 octets: the node (4),
--   how many numbers (1), time in clock units (5), SEQ of the SIM after a checked AUTS or 2^48-1 for none (6)
-- Returns for each key its record as it was, and the first SQN; '' and -1 for an unknown SIM, -2 when SEQ is used up, -3
-- for a record of another version.
local byte, char, sub = string.byte, string.char, string.sub
local jump, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local none = 2 ^ 48 - 1

-- Returns the place of a node among those of a record, from 0; nil when it is not there.
local function placeOf(octets, count, n1, n2, n3, n4)
  for i = 0, count - 1 do
    local first = headOctets + 4 * i
    local t1, t2, t3, t4 = byte(octets, first + 1, first + 4)
    if t4 == n4 and t3 == n3 and t2 == n2 and t1 == n1 then
      return i
    end
  end
  return nil
end

-- Returns a number in six octets, in one string: every string costs Redis a hash of all of it.
local function sixOctets(n)
  local b6 = n % 256
  n = (n - b6) / 256
  local b5 = n % 256
  n = (n - b5) / 256
  local b4 = n % 256
  n = (n - b4) / 256
  local b3 = n % 256
  n = (n - b3) / 256
  local b2 = n % 256
  return char((n - b2) / 256, b2, b3, b4, b5, b6)
end

local answer = {}
for i, key in ipairs(KEYS) do
  local octets, sqn = octetsAt(key), -1
  if octets == nil then
    octets, sqn = '', -3
  elseif octets then
    local n1, n2, n3, n4, count, t1, t2, t3, t4, t5, a1, a2, a3, a4, a5, a6 = byte(ARGV[i + 2], 1, 16)
    local _, s1, s2, s3, s4, s5, s6, l1, l2, l3, l4, l5, l6, _, nodes = byte(octets, 1, 15)
    local now = (((t1 * 256 + t2) * 256 + t3) * 256 + t4) * 256 + t5
    local sim = ((((a1 * 256 + a2) * 256 + a3) * 256 + a4) * 256 + a5) * 256 + a6
    local lead = ((((l1 * 256 + l2) * 256 + l3) * 256 + l4) * 256 + l5) * 256 + l6 - leadBias
    local moved = false

    -- TS 33.102 C.1.1.3: at least the clock's value. The clock counts from the SEQ that the SIM had when it was added, so
    -- that a new card is not asked to jump over decades.
    local first = ((((s1 * 256 + s2) * 256 + s3) * 256 + s4) * 256 + s5) * 256 + s6 + 1
    if now + lead > first then
      first = now + lead
    end
    -- TS 33.102 6.3.5: SEQ is set to the SIM's only if the SIM would refuse what comes next.
    if sim ~= none and (first <= sim or first - sim > jump) then
      first, lead, moved = sim + 1, sim - now, true
    end
    local last = first + count - 1
    if last > most then
      sqn = -2
    else
      -- An IND of its own for each of the last so many nodes.
      local ind = placeOf(octets, nodes, n1, n2, n3, n4)
      if ind and not moved then
        redis.call('SETRANGE', key, '1', sixOctets(last))
      else
        local slot, tags, room = byte(octets, 14), sub(octets, headOctets + 1, headOctets + 4 * nodes), roomOf(nodes)
        if not ind then
          ind = slot
          tags = sub(tags, 1, 4 * ind) .. char(n1, n2, n3, n4) .. sub(tags, 4 * ind + 5)
          slot = (ind + 1) % inds
        end
        local begin = sixOctets(last) .. sixOctets(lead + leadBias) .. char(slot, #tags / 4) .. sub(octets, 16, headOctets) .. tags
        if #tags <= room then
          redis.call('SETRANGE', key, '1', begin)
        else
          redis.call('SET', key, sub(octets, 1, 1) .. begin .. string.rep('\0', roomOf(#tags / 4) - #tags)
            .. sub(octets, headOctets + room + 1))
        end
      end
      sqn = first * inds + ind
    end
  end
  answer[2 * i - 1], answer[2 * i] = octets or '', sqn
end
return answer
