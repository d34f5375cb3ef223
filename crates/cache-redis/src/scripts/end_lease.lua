-- Gives a lease back, if it is still the one that has the token.
--
-- KEYS  the key of the lease
-- ARGV  the token · for how long in ms nobody is to wait for another, 0: not at all
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], 'useless', 'PX', ARGV[2])
else
  redis.call('UNLINK', KEYS[1])
end
return 1
