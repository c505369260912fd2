// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Bytes that are not a record, or not a sound one, are refused: by a checksum where they were damaged, by the reader's
// own look at them where somebody made the checksums fit.

#include "exact/record_bytes.hpp"
#include "exact/record_files.hpp"

#include <functional>
#include <string>

namespace {

using lora::RecordError;
using lora::UndoRecord;
using lora_test::Bytes;
using lora_test::RecordOffset;
using lora_test::RecordParts;

/// FOLDER/FILE in tests/data/records.
Bytes golden(const char* name) { return lora_test::read_file(lora_test::record_file("", name)); }

/// Expects a RecordError that contains `why`.
void expect_refused(const Bytes& bytes, const std::string& why) {
  try {
    static_cast<void>(UndoRecord::deserialize(bytes));
    FAIL() << "accepted; expected: " << why;
  } catch (const RecordError& error) {
    EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what() << "\nexpected: " << why;
  }
}

template <class Field>
void expect_field_refused(std::size_t offset, Field value, const std::string& why) {
  Bytes bytes = golden("bfloat16/row_major.undo");
  lora_test::put(bytes, offset, value);
  lora_test::repair(bytes);
  expect_refused(bytes, why);
}

// Damage.

constexpr const char* small_records[] = {
    "half/row_major.undo",           "bfloat16/column_major.undo",       "float/row_major.undo",
    "double/row_major.undo",         "several_blocks/column_major.undo", "gains_half/row_major.undo",
    "gains_double/column_major.undo"};

TEST(DamagedRecord, EveryFlippedBitIsNoticed) {
  for (const char* name : small_records) {
    Bytes bytes = golden(name);
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      const auto mask = static_cast<std::byte>(1u << (bit % 8));
      bytes[bit / 8] ^= mask;
      ASSERT_THROW((void)UndoRecord::deserialize(bytes), RecordError) << name << ", bit " << bit;
      bytes[bit / 8] ^= mask;
    }
  }
}

TEST(DamagedRecord, EveryTruncationIsNoticed) {
  for (const char* name : small_records) {
    const Bytes bytes = golden(name);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      ASSERT_THROW((void)UndoRecord::deserialize(cut), RecordError) << name << ", " << size << " bytes";
    }
  }
  EXPECT_THROW((void)UndoRecord::deserialize({}), RecordError);
}

TEST(DamagedRecord, EveryExtensionIsNoticed) {
  for (const char* name : small_records) {
    Bytes bytes = golden(name);
    for (int more = 0; more < 80; ++more) {
      bytes.push_back(std::byte{0});
      ASSERT_THROW((void)UndoRecord::deserialize(bytes), RecordError) << name;
    }
  }
}

// Checksums that fit around fields that do not.

TEST(ForgedRecord, ToolsLeaveASoundRecordAsItIs) {
  for (const char* name : small_records) {
    const Bytes bytes = golden(name);
    EXPECT_EQ(RecordParts(bytes).bytes(), bytes);
    Bytes repaired = bytes;
    lora_test::repair(repaired, true);
    EXPECT_EQ(repaired, bytes);
  }
}

TEST(ForgedRecord, HeaderFields) {
  expect_field_refused(0, 'L', "do not begin with");
  for (const std::uint32_t version : {0u, 3u, 0x01000000u})
    expect_field_refused(RecordOffset::version, version, "version");
  expect_field_refused(RecordOffset::version, 2u, "number of gains");
  for (const int type : {0, 5, 255})
    expect_field_refused(RecordOffset::type, static_cast<std::uint8_t>(type), "scalar type");
  for (const int order : {2, 255})
    expect_field_refused(RecordOffset::order, static_cast<std::uint8_t>(order), "storage order");
  expect_field_refused(RecordOffset::gains, std::uint16_t{1}, "reserved");
  expect_field_refused(RecordOffset::block_lines, 8u, "blocks");
  expect_field_refused(RecordOffset::block_length, 32u, "blocks");
}

TEST(ForgedRecord, ShapesAndCounts) {
  constexpr std::uint64_t largest = std::uint64_t{1} << 32, huge = ~std::uint64_t{0};
  for (const std::size_t side : {RecordOffset::rows, RecordOffset::cols})
    for (const std::uint64_t size : {largest + 1, std::uint64_t{1} << 63, huge})
      expect_field_refused(side, size, "shape");
  expect_field_refused(RecordOffset::rows, largest, "number of blocks");
  expect_field_refused(RecordOffset::rows, std::uint64_t{0}, "number of blocks");
  expect_field_refused(RecordOffset::cols, largest, "blocks");
  // 2^60 entries of 16 bytes wrap to none.
  for (const std::uint64_t count : {std::uint64_t{0}, std::uint64_t{2}, largest, std::uint64_t{1} << 60, huge})
    expect_field_refused(RecordOffset::count, count, "number of blocks");
  for (const std::uint64_t size : {std::uint64_t{0}, largest, huge, huge - 15})
    expect_field_refused(RecordOffset::payload_bytes, size, "payloads of");
}

TEST(ForgedRecord, AnotherShapeOrTypeOfTheSameBlocks) {
  // One row less: the marks of the last one are outside of the weight, or what follows them does not fit.
  Bytes bytes = golden("bfloat16/row_major.undo");
  lora_test::put(bytes, RecordOffset::rows, std::uint64_t{1});
  lora_test::repair(bytes);
  EXPECT_THROW((void)UndoRecord::deserialize(bytes), RecordError);
  bytes = golden("bfloat16/row_major.undo");
  lora_test::put(bytes, RecordOffset::type, std::uint8_t{4});
  lora_test::repair(bytes);
  expect_refused(bytes, "the raw elements do not fill the rest");
}

TEST(ForgedRecord, SizesOfBlocks) {
  const Bytes bytes = golden("several_blocks/column_major.undo");
  const std::size_t size_field = RecordOffset::index + 8;
  for (const std::uint32_t size : {0u, 1u, 0x7fffffffu, 0xffffffffu}) {
    Bytes changed = bytes;
    lora_test::put(changed, size_field, size);
    lora_test::repair(changed);
    expect_refused(changed, "siz");
  }
}

TEST(ForgedRecord, BlocksMissingOrLeftOver) {
  const RecordParts sound(golden("several_blocks/column_major.undo"));
  RecordParts parts = sound;
  parts.blocks.pop_back();
  expect_refused(parts.bytes(), "number of blocks");
  parts = sound;
  parts.blocks.push_back(parts.blocks.back());
  expect_refused(parts.bytes(), "number of blocks");
  parts = sound;
  std::swap(parts.blocks.front(), parts.blocks.back());
  EXPECT_THROW((void)UndoRecord::deserialize(parts.bytes()), RecordError);
}

TEST(ForgedRecord, RawBlocks) {
  const RecordParts sound(golden("several_blocks/row_major.undo"));
  ASSERT_EQ(sound.blocks.size(), 2u);
  ASSERT_FALSE(sound.blocks[0].raw);
  ASSERT_TRUE(sound.blocks[1].raw);
  RecordParts parts = sound;
  parts.blocks[1].payload.pop_back();
  expect_refused(parts.bytes(), "size of a raw block");
  parts = sound;
  parts.blocks[1].payload.push_back(std::byte{0});
  expect_refused(parts.bytes(), "size of a raw block");
  parts = sound;
  parts.blocks[1].payload.clear();
  expect_refused(parts.bytes(), "size of a raw block");
  parts = sound;
  parts.blocks[0].raw = true;
  expect_refused(parts.bytes(), "size of a raw block");
  parts = sound;
  parts.blocks[1].raw = false;
  expect_refused(parts.bytes(), "damaged block");
}

// Gains.

/// gains_float/row_major.undo: 23 x 37, gain vectors of rows, rows, columns, rows.
struct GainsRecord {
  static constexpr std::size_t rows = 8 + 4 * 23, columns = 8 + 4 * 37;
  static constexpr std::size_t places[] = {0, rows, 2 * rows, 2 * rows + columns};
  RecordParts parts{golden("gains_float/row_major.undo")};
};

TEST(ForgedGains, TheSampleIsAsItIsTakenFor) {
  const GainsRecord record;
  ASSERT_EQ(lora_test::get<std::uint16_t>(record.parts.header, RecordOffset::gains), 4);
  ASSERT_EQ(record.parts.gains.size(), 3 * GainsRecord::rows + GainsRecord::columns);
  for (const std::size_t i : {0u, 1u, 2u, 3u})
    ASSERT_EQ(lora_test::get<std::uint32_t>(record.parts.gains, GainsRecord::places[i]), i == 2 ? 1u : 0u);
}

/// Another number of gains than the header says, or another version.
TEST(ForgedGains, VersionAndNumber) {
  const Bytes sound = golden("gains_float/row_major.undo");
  const auto refused = [&](std::size_t offset, auto value, const std::string& why) {
    Bytes bytes = sound;
    lora_test::put(bytes, offset, value);
    lora_test::repair(bytes);
    expect_refused(bytes, why);
  };
  refused(RecordOffset::version, 1u, "reserved field: expected 0, found 4");
  refused(RecordOffset::version, 3u, "version");
  refused(RecordOffset::gains, std::uint16_t{0}, "number of gains: expected at least 1, found 0");
  for (const std::uint16_t fewer : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{3}})
    refused(RecordOffset::gains, fewer, "behind its payloads");
  for (const std::uint16_t more :
       {std::uint16_t{5}, std::uint16_t{100}, std::uint16_t{65535}}) {  // what stands behind them is no header
    Bytes bytes = sound;
    lora_test::put(bytes, RecordOffset::gains, more);
    lora_test::repair(bytes);
    EXPECT_THROW((void)UndoRecord::deserialize(bytes), RecordError) << more;
  }
}

TEST(ForgedGains, AxesAndReservedFields) {
  for (const std::size_t place : GainsRecord::places) {
    for (const std::uint32_t axis : {2u, 0x100u, 0x80000000u, 0xffffffffu}) {
      GainsRecord record;
      lora_test::put(record.parts.gains, place, axis);
      expect_refused(record.parts.bytes(), "axis of gains");
    }
    for (const std::uint32_t reserved : {1u, 0x80000000u}) {
      GainsRecord record;
      lora_test::put(record.parts.gains, place + 4, reserved);
      expect_refused(record.parts.bytes(), "reserved field of gains");
    }
    GainsRecord other;  // columns for rows, or rows for columns: what follows them is at another place
    lora_test::put(other.parts.gains, place, lora_test::get<std::uint32_t>(other.parts.gains, place) ^ 1u);
    EXPECT_THROW((void)UndoRecord::deserialize(other.parts.bytes()), RecordError) << place;
  }
}

TEST(ForgedGains, MissingOrLeftOver) {
  const GainsRecord sound;
  for (std::size_t size = 0; size < sound.parts.gains.size(); ++size) {
    RecordParts cut = sound.parts;
    cut.gains.resize(size);
    ASSERT_THROW((void)UndoRecord::deserialize(cut.bytes()), RecordError) << size << " bytes of gains";
  }
  for (const std::size_t more : {1u, 4u, 8u, 52u}) {
    RecordParts longer = sound.parts;
    longer.gains.resize(longer.gains.size() + more);
    ASSERT_THROW((void)UndoRecord::deserialize(longer.bytes()), RecordError) << more << " bytes more";
  }
  // Behind the gains there are no blocks, so the bytes end with them.
  RecordParts alone = sound.parts;
  alone.blocks.clear();
  lora_test::put(alone.header, RecordOffset::cols, std::uint64_t{0});
  lora_test::put(alone.header, RecordOffset::block_length, 32u);
  lora_test::put(alone.header, RecordOffset::block_lines, 256u);
  for (const std::size_t size : {0u, 4u, 8u, 51u}) {
    alone.gains.assign(sound.parts.gains.begin(), sound.parts.gains.begin() + static_cast<std::ptrdiff_t>(size));
    lora_test::put(alone.header, RecordOffset::gains, std::uint16_t{1});
    expect_refused(alone.bytes(), "room for the gains");
  }
  alone.gains.assign(sound.parts.gains.begin(), sound.parts.gains.begin() + GainsRecord::rows);
  EXPECT_EQ(UndoRecord::deserialize(alone.bytes()).serialize(), alone.bytes());
}

/// A shape that gains of 2^32 numbers would fit is not believed.
TEST(ForgedGains, OfAHugeShape) {
  constexpr std::uint64_t largest = std::uint64_t{1} << 32;
  RecordParts parts(golden("gains_double/row_major.undo"));
  parts.blocks.clear();
  lora_test::put(parts.header, RecordOffset::rows, largest);
  lora_test::put(parts.header, RecordOffset::cols, std::uint64_t{0});
  const lora::detail::BlockGrid grid(static_cast<lora::Index>(largest), 0);
  lora_test::put(parts.header, RecordOffset::block_lines, static_cast<std::uint32_t>(grid.block_lines()));
  lora_test::put(parts.header, RecordOffset::block_length, static_cast<std::uint32_t>(grid.block_length()));
  expect_refused(parts.bytes(), "room for the gains");
}

/// A writer makes every NaN the canonical one; infinities and the canonical NaN are gains like others.
TEST(ForgedGains, NotANumber) {
  for (const std::uint32_t pattern : {0x7f800001u, 0x7fc00001u, 0xffc00000u, 0xffffffffu})
    for (const std::size_t place : {std::size_t{8}, GainsRecord::places[2] + 8 + 4 * 36}) {
      GainsRecord record;
      lora_test::put(record.parts.gains, place, pattern);
      expect_refused(record.parts.bytes(), "gains: expected the canonical NaN");
    }
  for (const std::uint32_t pattern : {0x7fc00000u, 0x7f800000u, 0xff800000u, 0u, 0x80000000u, 1u}) {
    GainsRecord record;
    lora_test::put(record.parts.gains, 8, pattern);
    EXPECT_EQ(UndoRecord::deserialize(record.parts.bytes()).serialize(), record.parts.bytes());
  }
  RecordParts wide(golden("gains_double/row_major.undo"));
  lora_test::put(wide.gains, 8, 0x7ff8000000000001u);
  expect_refused(wide.bytes(), "gains: expected the canonical NaN");
}

// The inside of a block, made by hand: a float weight of 10 x 40 has one block of 2 x 2 tiles, the last of 2 x 8
// elements.

struct Payload {
  std::uint16_t masks_count, distances_count;
  std::vector<std::uint16_t> summaries, masks;
  std::vector<std::int8_t> distances;
  std::size_t raw_bytes = 0;

  Bytes bytes() const {
    Bytes out;
    const auto append = [&](const auto& values) {
      const auto* begin = reinterpret_cast<const std::byte*>(values.data());
      out.insert(out.end(), begin, begin + values.size() * sizeof(values[0]));
    };
    append(std::vector<std::uint16_t>{masks_count, distances_count});
    append(summaries);
    append(masks);
    append(distances);
    out.resize(out.size() + raw_bytes, std::byte{0x11});
    return out;
  }
};

const Payload nothing{0, 0, {0, 0, 0, 0}, {}, {}};
const Payload sound{3, 4, {0x0001, 0, 0x0002, 0x0004}, {0x8001, 0x0100, 0x0080}, {1, -127, -128, 127}, 4};

Bytes record_with(const Bytes& payload) {
  RecordParts parts(golden("float/row_major.undo"));
  lora_test::put(parts.header, RecordOffset::rows, std::uint64_t{10});
  lora_test::put(parts.header, RecordOffset::cols, std::uint64_t{40});
  parts.blocks.at(0).payload = payload;
  return parts.bytes();
}

void expect_payload_refused(const std::function<void(Payload&)>& change, const std::string& why) {
  Payload payload = sound;
  change(payload);
  expect_refused(record_with(payload.bytes()), why);
}

TEST(ForgedPayload, SoundOnesAreAccepted) {
  for (const Payload& payload : {nothing, sound}) {
    const Bytes bytes = record_with(payload.bytes());
    EXPECT_EQ(UndoRecord::deserialize(bytes).serialize(), bytes);
  }
}

TEST(ForgedPayload, Counts) {
  expect_payload_refused([](Payload& p) { p.masks_count = 2; }, "number of masks");
  expect_payload_refused([](Payload& p) { p.masks_count = 0xffff; }, "number of masks");
  expect_payload_refused([](Payload& p) { p.distances_count = 3; }, "number of distances");
  expect_payload_refused([](Payload& p) { p.distances_count = 0xffff; }, "number of distances");
  expect_payload_refused([](Payload& p) { p.masks.pop_back(); }, "");
  expect_payload_refused([](Payload& p) { p.summaries[1] = 1; }, "number of masks");
}

TEST(ForgedPayload, MasksOutsideOfTheWeight) {
  expect_payload_refused([](Payload& p) { p.masks[2] = 0x0100; }, "outside of the weight");
  expect_payload_refused([](Payload& p) { p.summaries[3] = 0x0008; }, "outside of the weight");  // the second half
  expect_payload_refused([](Payload& p) { p.summaries[3] = 0x0010; }, "outside of the weight");  // the third line
  expect_payload_refused([](Payload& p) { p.summaries[3] = 0x8000; }, "outside of the weight");
}

TEST(ForgedPayload, MarksWithoutDifferences) {
  expect_payload_refused([](Payload& p) { p.masks[1] = 0; }, "a marked group without differences");
  expect_payload_refused([](Payload& p) { p.distances[0] = 0; }, "a distance of 0");
}

TEST(ForgedPayload, RawElementsMissingOrLeftOver) {
  for (const std::size_t bytes : {0u, 1u, 3u, 5u, 8u})
    expect_payload_refused([&](Payload& p) { p.raw_bytes = bytes; }, "the raw elements do not fill the rest");
  expect_payload_refused([](Payload& p) { p.distances[2] = 5; }, "the raw elements do not fill the rest");
  expect_payload_refused([](Payload& p) { p.distances[0] = -128; }, "the raw elements do not fill the rest");
}

TEST(ForgedPayload, EndsAnywhere) {
  const Bytes bytes = sound.bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size)
    expect_refused(record_with({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}), "damaged block");
}

TEST(ForgedPayload, LargerThanTheBlock) {
  // All 400 elements escaped, each in its place: such a block is written raw.
  Payload payload{30,
                  400,
                  {0xffff, 0x5555, 0x000f, 0x0005},
                  std::vector<std::uint16_t>(30, 0xffff),
                  std::vector<std::int8_t>(400, -128),
                  1600};
  for (std::size_t i = 16; i < 24; ++i) payload.masks[i] = 0x00ff;
  payload.masks[28] = payload.masks[29] = 0x00ff;
  expect_refused(record_with(payload.bytes()), "size of a block");
}

TEST(ForgedRecord, EmptyWeights) {
  for (const auto& [rows, cols] :
       {std::pair<std::uint64_t, std::uint64_t>{0, 0}, {0, 5}, {5, 0}, {std::uint64_t{1} << 32, 0}}) {
    RecordParts parts(golden("float/row_major.undo"));
    parts.blocks.clear();
    lora_test::put(parts.header, RecordOffset::rows, rows);
    lora_test::put(parts.header, RecordOffset::cols, cols);
    const lora::detail::BlockGrid grid(static_cast<lora::Index>(rows), static_cast<lora::Index>(cols));
    lora_test::put(parts.header, RecordOffset::block_lines, static_cast<std::uint32_t>(grid.block_lines()));
    lora_test::put(parts.header, RecordOffset::block_length, static_cast<std::uint32_t>(grid.block_length()));
    const Bytes bytes = parts.bytes();
    EXPECT_EQ(UndoRecord::deserialize(bytes).serialize(), bytes) << rows << " x " << cols;
  }
}

}  // namespace
