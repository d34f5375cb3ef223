-- Removes all responses of a resource: none of them can be found without what stood at the primary
-- key. When it was is remembered for a while.
--
-- KEYS  the primary key
-- ARGV  the time in microseconds since 1970 · for how long it is remembered in ms · the grace in ms
--       for bodies that are let go
local primary, at, grace = KEYS[1], ARGV[1], ARGV[3]
local remembered = true
if invalidated_at(primary) <= tonumber(at) then
  -- There may be no memory left for this; what can be looked up goes all the same.
  remembered = redis.pcall('SET', primary .. ':t', at .. ' ' .. redis.sha1hex(at), 'PX', ARGV[2])
end
local kind, prefix = read(primary)
let_go(primary, kind, prefix, grace)
redis.call('UNLINK', primary)
sweep(primary, grace)
if type(remembered) == 'table' and remembered.err then
  return remembered
end
return 1
