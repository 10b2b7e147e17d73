-- record: reads and writes a SIM's record; stands before the scripts that do. layout.go has the layout.
local headOctets, layout, inds, leadBias = 26, 2, 32, 2 ^ 40

local function number(octets, first, count)
  local n = 0
  for i = first, first + count - 1 do
    n = n * 256 + string.byte(octets, i)
  end
  return n
end

local octetsOf
function octetsOf(n, count)
  local high = math.floor(n / 65536)
  local low = string.char(math.floor(n / 256) % 256, n % 256)
  return count == 2 and low or octetsOf(high, count - 2) .. low
end

-- Returns how many octets the table of so many nodes takes: room for an even number of them, and for two at least.
local function roomOf(nodes)
  return 4 * math.max(2, nodes + nodes % 2)
end

-- Puts a record together. Numbers stay below 2^53, so that Lua holds them exactly.
local function encoded(r)
  return string.char(layout) .. octetsOf(r.seq, 6) .. octetsOf(r.lead + leadBias, 6) .. string.char(r.next, #r.nodes / 4)
    .. octetsOf(r.rev, 4) .. string.char(#r.key) .. octetsOf(#r.profile, 2) .. octetsOf(#r.mme, 2) .. octetsOf(#r.sgsn, 2)
    .. r.nodes .. string.rep('\0', roomOf(#r.nodes / 4) - #r.nodes) .. r.key .. r.profile .. r.mme .. r.sgsn
end

-- Turns a record of version 1, a hash, into one of version 2, and returns its octets.
local function upgraded(key)
  local h, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    h[flat[i]] = flat[i + 1]
  end
  if h.v ~= '1' then
    return nil
  end
  local known = tonumber(h.nodes or '0')
  local r = {
    seq = tonumber(h.seq), lead = tonumber(h.seq0) - tonumber(h.t0), next = known % inds, nodes = '', rev = tonumber(h.rev),
    key = h.key, profile = h.profile, mme = h.mme or '', sgsn = h.sgsn or '',
  }
  for ind = 0, math.min(known, inds) - 1 do
    local name = redis.sha1hex(h['n:' .. ind] or '')
    for i = 1, 8, 2 do
      r.nodes = r.nodes .. string.char(tonumber(string.sub(name, i, i + 1), 16))
    end
  end
  local octets = encoded(r)
  redis.call('DEL', key)
  redis.call('SET', key, octets)
  return octets
end

-- Returns the octets of a record, false when there is none, nil when it is of another version.
local function octetsAt(key)
  local octets = redis.pcall('GET', key)
  if type(octets) == 'table' then -- WRONGTYPE
    local known, new = pcall(upgraded, key)
    return known and new or nil
  end
  if octets and (#octets < headOctets or string.byte(octets, 1) ~= layout) then
    return nil
  end
  return octets
end

-- Returns a record, nil when there is none; one of another version ends the script.
local function read(key)
  local octets = octetsAt(key)
  if octets == nil then
    error('a record of another version')
  end
  if not octets then
    return nil
  end
  local at = headOctets + 1
  local function part(length)
    at = at + length
    return string.sub(octets, at - length, at - 1)
  end
  local r = { seq = number(octets, 2, 6), lead = number(octets, 8, 6) - leadBias, next = string.byte(octets, 14), rev = number(octets, 16, 4) }
  local nodes = string.byte(octets, 15)
  r.nodes, r.key = string.sub(part(roomOf(nodes)), 1, 4 * nodes), part(string.byte(octets, 20))
  r.profile, r.mme, r.sgsn = part(number(octets, 21, 2)), part(number(octets, 23, 2)), part(number(octets, 25, 2))
  return r
end

local function write(key, r)
  redis.call('SET', key, encoded(r))
end

-- Returns who holds a registration: the host in lower case with ! behind it when it has purged the SIM; '' for nobody.
local function holder(text)
  if text == '' then
    return ''
  end
  local g = cjson.decode(text)
  return string.lower(g.h or g.host) .. ((g.x or g.purged) and '!' or '')
end
