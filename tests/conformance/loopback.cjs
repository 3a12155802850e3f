// Loaded before a server that would listen on every interface (node --require): all it opens is on the loopback.
"use strict";
const net = require("node:net");

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
  if (typeof given[0] === "number" || typeof given[0] === "string") {
    const callback = given.find((one) => typeof one === "function");
    return listen.call(this, { port: Number(given[0]), host: "127.0.0.1" }, callback);
  }
  throw new Error("this server listens in a way that the conformance tests do not know");
};
