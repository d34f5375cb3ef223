local RESPONSE, ELSEWHERE, RULE = 1, 2, 3

-- What scripts check of a value: they cannot compute the checksum of all of it.
local function check(bytes)
  return (string.gsub(string.sub(redis.sha1hex(bytes), 1, 16), '..', function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

-- What stands at a key: its kind, its prefix, and of a rule its lines, of a response its selector;
-- nothing, where it is not ours as it was written.
local function read(key)
  local prefix = redis.pcall('GETRANGE', key, 0, 91)
  if type(prefix) ~= 'string' or #prefix < 92 or string.sub(prefix, 1, 5) ~= 'httc\2' then
    return nil
  end
  local kind, checked, variant = string.byte(prefix, 6), string.sub(prefix, 69, 76), string.sub(prefix, 77)
  if kind == RULE then
    local lines = redis.call('GETRANGE', key, 92, -1)
    if check(string.sub(prefix, 1, 68) .. variant .. lines) == checked then
      return kind, prefix, lines
    end
    return nil
  end
  local length, selector = struct.unpack('<I2', prefix, 7), ''
  if length > 0 then
    selector = redis.call('GETRANGE', key, 92, 91 + length)
  end
  if check(string.sub(prefix, 1, 40) .. string.sub(prefix, 49, 68) .. variant .. selector) == checked then
    return kind, prefix, selector
  end
  return nil
end

-- The same of a value that is about to be stored.
local function selector_of(value)
  return string.sub(value, 93, 92 + struct.unpack('<I2', value, 7))
end

local function is_response(kind)
  return kind == RESPONSE or kind == ELSEWHERE
end

local function asked_at(prefix)
  return (struct.unpack('>I8', prefix, 9))
end

local function token(prefix)
  return string.sub(prefix, 25, 40)
end

local function generation(prefix)
  return string.sub(prefix, 41, 48)
end

local function variant(prefix)
  return string.sub(prefix, 77, 92)
end

local function hex(bytes)
  return (string.gsub(bytes, '.', function(byte)
    return string.format('%02x', string.byte(byte))
  end))
end

-- The key of a body that stands elsewhere.
local function body_key(primary, prefix)
  return primary .. ':b:' .. hex(token(prefix))
end

-- The key of a response that is one of several.
local function variant_key(primary, prefix, selector)
  local is_part = string.sub(selector, 1, 1) == '/'
  local is_selected = #selector > (is_part and 1 or 0)
  return primary .. (is_part and ':p:' or ':v:') .. (is_selected and hex(variant(prefix)) or 'any')
end

-- A body that nobody will look up any more stays for those who read it now.
local function let_go(primary, kind, prefix, grace)
  if kind == ELSEWHERE then
    local body = body_key(primary, prefix)
    redis.call('PEXPIRE', body, grace)
    redis.pcall('SREM', primary .. ':i', body)
  end
end

-- Remembers a key that has no TTL, so that it does not stay when it cannot be found any more.
local function remember(primary, key)
  local index = primary .. ':i'
  if type(redis.pcall('SADD', index, key)) == 'table' then
    redis.call('UNLINK', index)
    redis.call('SADD', index, key)
  end
end

local function forget(primary, key)
  redis.call('UNLINK', key)
  redis.pcall('SREM', primary .. ':i', key)
end

-- Removes what has no TTL, and cannot be found any more.
local function sweep(primary, grace)
  local index = primary .. ':i'
  local keys = redis.pcall('SMEMBERS', index)
  if keys.err or #keys == 0 then
    return
  end
  for _, key in ipairs(keys) do
    local suffix = string.sub(key, 1, #primary + 3)
    if suffix == primary .. ':b:' then
      redis.call('PEXPIRE', key, grace)
    elseif suffix == primary .. ':v:' or suffix == primary .. ':p:' then
      redis.call('UNLINK', key)
    end
  end
  redis.call('UNLINK', index)
end

-- Where the response with this token stands, if it can be found from the primary key.
local function home_of(primary, variant, wanted)
  local kind, prefix = read(primary)
  if is_response(kind) and token(prefix) == wanted then
    return primary, kind, prefix
  end
  if kind == RULE then
    local current = generation(prefix)
    kind, prefix = read(variant)
    if is_response(kind) and token(prefix) == wanted and generation(prefix) == current then
      return variant, kind, prefix
    end
  end
  return nil
end

-- When the resource was invalidated, in microseconds since 1970, as far as that is remembered.
local function invalidated_at(primary)
  local value = redis.pcall('GETRANGE', primary .. ':t', 0, 99)
  if type(value) ~= 'string' then
    return 0
  end
  local at, checked = string.match(value, '^(%d+) (%x+)$')
  return at and redis.sha1hex(at) == checked and tonumber(at) or 0
end
