-- record: reads and writes a SIM's record; stands before the scripts that do. layout.go has the layout.
local headOctets, layout, inds, leadBias = 26, 2, 32, 2 ^ 40

-- Redis has struct; what stands for it in the embedded one knows >, B, In and cn only.
local struct = rawget(_G, 'struct')
if not struct then
  local function each(format)
    return string.gmatch(format, '([BIc])(%d*)')
  end
  struct = {}
  function struct.unpack(format, octets, at)
    local values = {}
    for kind, size in each(format) do
      local last, n = (at or 1) + (tonumber(size) or 1) - 1, 0
      for i = at or 1, last do
        n = n * 256 + string.byte(octets, i)
      end
      values[#values + 1] = kind == 'c' and string.sub(octets, at or 1, last) or n
      at = last + 1
    end
    return unpack(values)
  end
  function struct.pack(format, ...)
    local octets, values, i = '', {...}, 0
    for _, size in each(format) do
      i = i + 1
      for place = (tonumber(size) or 1) - 1, 0, -1 do
        octets = octets .. string.char(math.floor(values[i] / 256 ^ place) % 256)
      end
    end
    return octets
  end
end

-- Returns how many octets the table of so many nodes takes: room for an even number of them, and for two at least.
local function roomOf(nodes)
  return 4 * math.max(2, nodes + nodes % 2)
end

-- The head: version, SEQ, lead, next slot, nodes, revision, octets of the keys, the profile and the registrations. All
-- numbers stay below 2^53, so that Lua holds them exactly.
local head = '>BI6I6BBI4BI2I2I2'

-- Puts a record together.
local function encoded(r)
  return struct.pack(head, layout, r.seq, r.lead + leadBias, r.next, #r.nodes / 4, r.rev, #r.key, #r.profile, #r.mme, #r.sgsn)
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

local function isRecord(octets)
  return #octets >= headOctets and string.byte(octets, 1) == layout
end

-- Returns the octets of a record, false when there is none, nil when it is of another version.
local function octetsAt(key)
  local octets = redis.pcall('GET', key)
  if type(octets) == 'table' then -- WRONGTYPE
    local known, new = pcall(upgraded, key)
    return known and new or nil
  end
  if octets and not isRecord(octets) then
    return nil
  end
  return octets
end

-- Returns a record, nil when there is none; one of another version ends the script.
local function read(name)
  local octets = octetsAt(name)
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
  local _, seq, lead, slot, nodes, rev, key, profile, mme, sgsn = struct.unpack(head, octets)
  local r = { seq = seq, lead = lead - leadBias, next = slot, rev = rev }
  r.nodes, r.key = string.sub(part(roomOf(nodes)), 1, 4 * nodes), part(key)
  r.profile, r.mme, r.sgsn = part(profile), part(mme), part(sgsn)
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

-- Forgets the PDN-GWs of a SIM that no node serves any more.
local function free(r, gateways)
  local mme, sgsn = holder(r.mme), holder(r.sgsn)
  if (mme == '' or string.sub(mme, -1) == '!') and (sgsn == '' or string.sub(sgsn, -1) == '!') then
    redis.call('DEL', gateways)
  end
end

-- Remembers, newest first, the last requests about a SIM that were worked on, while they may come again (RFC 6733 3).
local function remember(key, request)
  redis.call('LPUSH', key, request)
  redis.call('LTRIM', key, 0, 7)
  redis.call('PEXPIRE', key, 240000)
end
