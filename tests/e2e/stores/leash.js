// Ends this process when the pipe to its standard input closes, so that a server never outlives the test that started it.
process.stdin.resume().on("end", () => process.exit(1)).on("error", () => process.exit(1));
