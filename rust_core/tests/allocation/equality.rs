//! Bit for bit the results of the slow reference.

use proptest::prelude::*;

use crate::problem::part::ANY;
use crate::problem::{Problem, problems};
use crate::reference::solve;

fn agree(problem: &Problem) -> Result<(), TestCaseError> {
    let (given, expected) = (problem.allocate(), solve(problem));
    prop_assert_eq!(given, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(200_000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn small_rounds_of_every_kind(problem in problems(6, 9, ANY)) {
        agree(&problem)?;
    }

    #[test]
    fn smallest_rounds_where_every_tie_occurs(problem in problems(3, 4, ANY)) {
        agree(&problem)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(4_000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn deep_rounds(problem in problems(20, 12, ANY)) {
        agree(&problem)?;
    }

    #[test]
    fn rounds_with_many_connectors_on_a_node(problem in problems(4, 40, ANY)) {
        agree(&problem)?;
    }
}

/// An interpreter is some thousand times slower.
const fn cases(compiled: u32) -> u32 {
    if cfg!(miri) { compiled.div_ceil(50_000) } else { compiled }
}
