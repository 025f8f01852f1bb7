-- Sends the requests of a file in turn, repeatedly, and prints the results as JSON.
-- The file has, for each request, a line with its length, then its bytes. Sixteen @ in a request are replaced by
-- a unique number. Arguments: the file, and eight hexadecimal digits that are unique to this run.

local prepared, index, count, salt = {}, 0, 0, ""

function init(arguments)
   salt = arguments[2]
   local file = assert(io.open(arguments[1], "rb"))
   while true do
      local length = file:read("*n")
      if not length then break end
      file:read(1)
      local text = file:read(length)
      local from, to = text:find(("@"):rep(16), 1, true)
      prepared[#prepared + 1] = from and {text:sub(1, from - 1), text:sub(to + 1)} or text
   end
   file:close()
end

function request()
   index = index % #prepared + 1
   local each = prepared[index]
   if type(each) == "string" then return each end
   count = count + 1
   return each[1] .. salt .. ("%08x"):format(count) .. each[2]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(("\n{\"requests\": %d, \"seconds\": %f, \"p50\": %f, \"p99\": %f, \"failed\": %d, \"broken\": %d}\n"):format(
      summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
