//! What must not change unawares: every default of every kind, since a value that equals its default is left out of keys, so that a changed
//! default must raise its kind's version; and a key of each kind of action whose ingredients hold no bytes that depend on the machine.

use super::lab::{Lab, TINY};

#[test]
fn every_default_of_every_kind_is_what_the_reference_page_says() {
    let lab = Lab::new(TINY);
    for (args, page) in [
        (&["schema", "--markdown"][..], include_str!("../../../docs/kinds.md")),
        (&["schema"][..], include_str!("../../../docs/manifest.schema.json")),
    ] {
        let said = lab.says(args);
        let differing: Vec<(&str, &str)> = said.lines().zip(page.lines()).filter(|(said, page)| said != page).collect();
        assert!(
            said == page,
            "`just docs` renews docs/; raise the version of a kind whose default changed: {differing:#?}"
        );
    }
}

#[test]
fn keys_that_no_arithmetic_enters_are_what_they_were() {
    let lab = Lab::new(TINY);
    let ran = lab.run(&[]);
    let key = |kind: &str| ran.keys(kind).into_iter().collect::<Vec<_>>().join(" ");
    // `decode` has no inputs, and `init` has the decoded digits, which additions, multiplications, divisions and square roots in one
    // order make: the same on every machine. All others are keyed by states, whose bytes a machine's instruction set has a part in.
    insta::assert_snapshot!(key("decode"), @"afe2426414b26b24b26fef6b0f7372ae9f9263502da65fd593e70911a64902a2");
    insta::assert_snapshot!(key("init"), @"d29a678df00ad9d4aeed36938bd0e62feb9da111578503820d0eccea67048fef");
}

#[test]
fn a_build_keys_alike_wherever_the_study_lies() {
    let (a, b) = (Lab::new(TINY), Lab::new(TINY));
    let (a, b) = (a.run(&["--jobs 1"]), b.run(&["--jobs 2"]));
    assert_eq!(a.all_keys(), b.all_keys());
    assert_eq!(a.report["stages"], b.report["stages"]);
}
