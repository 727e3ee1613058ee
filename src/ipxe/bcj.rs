//! iPXE's branch filter (BCJ), which is applied to the payload before compression. zbin applies it
//! (`bcj_filter` in `src/util/zbin.c`), and `src/arch/x86/prefix/unlzma.S` reverses it at run time.
//! Pure.
//!
//! Both directions treat each 0xe8 or 0xe9 and the four bytes after it as one unit, whatever these
//! bytes really are. So a root of trust that is written into the *packed* bytes may be different at
//! run time. It must be written into the unfiltered bytes.

/// Length of an opcode with its 32-bit target.
const UNIT: usize = 5;

/// Turns relative targets into absolute ones, as zbin does before compression.
pub(super) fn filter(data: &mut [u8]) {
    walk(data, |target, offset, limit| {
        if target >= -offset && target < limit - offset {
            target + offset
        } else if target >= limit - offset && target < limit {
            target - limit
        } else {
            target
        }
    });
}

/// Turns absolute targets into relative ones, as iPXE does after decompression.
pub(super) fn unfilter(data: &mut [u8]) {
    walk(data, |target, offset, limit| {
        if (0..limit).contains(&target) {
            target - offset
        } else if target < 0 && target >= -offset {
            target + limit
        } else {
            target
        }
    });
}

fn walk(data: &mut [u8], convert: impl Fn(i64, i64, i64) -> i64) {
    let Some(limit) = data.len().checked_sub(UNIT) else { return };
    let mut offset = 0;
    while offset <= limit {
        if data[offset] & 0xfe != 0xe8 {
            offset += 1;
            continue;
        }
        let bytes = &mut data[offset + 1..offset + UNIT];
        let target = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        // Payloads are far below 2 GiB, so the result fits.
        let converted = convert(target.into(), offset as i64, limit as i64) as i32;
        bytes.copy_from_slice(&converted.to_le_bytes());
        offset += UNIT;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes with many opcodes and with short and negative targets, so that every branch is tested.
    fn code() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0xe8), Just(0xe9), Just(0), Just(0xff), any::<u8>()];
        prop::collection::vec(byte, 0..600)
    }

    /// `bcj_filter` of unlzma.S, translated instruction by instruction.
    fn at_run_time(data: &mut [u8]) {
        if data.len() < UNIT {
            return;
        }
        let ecx = (data.len() - UNIT) as u32;
        let mut esi = 0;
        loop {
            let ebx = esi as u32;
            if ebx > ecx {
                return;
            }
            let al = data[esi];
            esi += 1;
            if al & 0xfe != 0xe8 {
                continue;
            }
            let mut word = u32::from_le_bytes(data[esi..esi + 4].try_into().unwrap());
            let eax = word;
            esi += 4;
            if eax < ecx {
                word = word.wrapping_sub(ebx);
            }
            if !eax < ebx {
                word = word.wrapping_add(ecx);
            }
            data[esi - 4..esi].copy_from_slice(&word.to_le_bytes());
        }
    }

    proptest! {
        #[test]
        fn either_direction_undoes_the_other(data in code()) {
            let mut copy = data.clone();
            filter(&mut copy);
            unfilter(&mut copy);
            prop_assert_eq!(&copy, &data);
            unfilter(&mut copy);
            filter(&mut copy);
            prop_assert_eq!(&copy, &data);
        }

        #[test]
        fn undoes_it_as_the_assembler_does(data in code()) {
            let (mut ours, mut theirs) = (data.clone(), data);
            unfilter(&mut ours);
            at_run_time(&mut theirs);
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_near_jump_is_changed_and_a_far_one_is_not() {
        let mut data = vec![0x90; 64];
        data[10..15].copy_from_slice(&[0xe8, 4, 0, 0, 0]);
        data[20..25].copy_from_slice(&[0xe9, 0, 0, 0, 0x7f]);
        filter(&mut data);
        assert_eq!(data[10..15], [0xe8, 14, 0, 0, 0]);
        assert_eq!(data[20..25], [0xe9, 0, 0, 0, 0x7f]);
    }
}
