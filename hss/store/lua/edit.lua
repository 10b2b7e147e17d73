-- edit: puts a registration in the place of the same as it was read.
-- KEYS[1] the record; ARGV side, registration as read, registration
-- Returns {'done'}; {'changed'} when it is another by now.
local r = read(KEYS[1])
if not r or r[ARGV[1]] ~= ARGV[2] then
  return {'changed'}
end
r[ARGV[1]] = ARGV[3]
write(KEYS[1], r)
return {'done'}
