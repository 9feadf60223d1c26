-- Single questions, each thread from a place of its own on; tells what wrk measured as one line of JSON.
-- With "statuses" behind the file of bodies it counts answers by status too, and the refused ones that say when to come again.
local bodies, at, threads = {}, 0, {}

function setup(thread)
  thread:set("place", #threads)
  threads[#threads + 1] = thread
end

function init(args)
  for line in io.lines(args[1]) do
    bodies[#bodies + 1] = wrk.format("POST", "/v1/complete", { ["Content-Type"] = "application/json" }, line)
  end
  at = math.floor(place * #bodies / 7) % #bodies
  answered, overloaded, told = 0, 0, 0
  if args[2] == "statuses" then
    response = function(status, headers)
      if status == 200 then answered = answered + 1 end
      if status == 503 then overloaded = overloaded + 1 end
      if status == 503 and headers["retry-after"] then told = told + 1 end
    end
  end
end

function request()
  at = at % #bodies + 1
  return bodies[at]
end

function done(summary, latency, requests)
  local counts = { answered = 0, overloaded = 0, told = 0 }
  for _, thread in ipairs(threads) do
    for name in pairs(counts) do counts[name] = counts[name] + thread:get(name) end
  end
  io.write(string.format(
    'JSON {"requests": %d, "seconds": %.4f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "not_2xx": %d, "broken": %d,'
      .. ' "answered": %d, "overloaded": %d, "told_when": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    counts.answered, counts.overloaded, counts.told))
end
