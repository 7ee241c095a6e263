import { assertEquals } from "@std/assert";
import {
  PCAP_HEADER_BYTES,
  PCAP_RECORD_BYTES,
  writePcapHeader,
  writePcapRecord,
} from "../../src/wire/pcap.ts";

Deno.test("pcap: a file begins as draft-ietf-opsawg-pcap has it, little-endian", () => {
  const bytes = new Uint8Array(PCAP_HEADER_BYTES + 2).fill(0xee);
  writePcapHeader(bytes, 1);
  assertEquals(
    bytes.toHex(),
    // Magic of nanoseconds, version 2.4, two reserved words, the longest frame, Ethernet.
    "ee" + "4d3cb2a1" + "0200" + "0400" + "00000000" + "00000000" + "00000400" + "01000000" + "ee",
  );
});

Deno.test("pcap: a frame's record has its time, what is kept of it, and its length", () => {
  const bytes = new Uint8Array(PCAP_RECORD_BYTES + 2).fill(0xee);
  writePcapRecord(bytes, 1, 0xf123_4567, 999_999_999, 36, 8228);
  assertEquals(bytes.toHex(), "ee" + "674523f1" + "ffc99a3b" + "24000000" + "24200000" + "ee");
});
