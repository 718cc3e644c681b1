//! Every mistake and what is said about it.

use super::{BASE, errors};

/// The base with one piece of text for another, which must be there.
fn with(old: &str, new: &str) -> String {
    assert!(BASE.contains(old), "{old}");
    BASE.replacen(old, new, 1)
}

/// The base with more at its end.
fn and(more: &str) -> String {
    format!("{BASE}{more}")
}

macro_rules! said {
    ($($name:ident: $text:expr $(, profile $profile:literal)? $(, set $set:literal)*;)*) => {$(
        #[test]
        fn $name() {
            let profile = [$($profile,)?].first().copied();
            let sets: &[&str] = &[$($set),*];
            insta::assert_snapshot!(errors(&$text, profile, sets));
        }
    )*};
}

said! {
    a_syntax_error: with("epochs = 60", "epochs = = 60");
    two_syntax_errors_come_at_once: with("epochs = 60", "epochs = = 60").replace("[0, 1]", "[0, 1");
    a_stage_declared_twice: and("[stage.train]\nkind = \"train\"\n");
    a_field_given_twice: with("epochs = 60", "epochs = 60\nepochs = 70");
    many_mistakes_come_at_once: with("epochs = 60", "epochs = 0\nlr = nan\nlables = \"soft\"").replace("from = \"train\"", "from = \"trian\"");
    an_unknown_field_with_a_near_name: with("epochs = 60", "epoch = 60");
    an_unknown_field_with_no_near_name: with("epochs = 60", "epochs = 60\nxyzzy = 1");
    an_unknown_key_of_the_manifest: with("study = \"toy\"", "study = \"toy\"\ntitel = \"x\"");
    an_unknown_key_of_a_nested_table: with("hidden = [64]", "hiden = [64]");
    text_for_a_whole_number: with("epochs = 60", "epochs = \"sixty\"");
    a_float_for_a_whole_number: with("epochs = 60", "epochs = 60.0");
    a_number_that_is_too_large: with("epochs = 60", "epochs = 99999999999999999999");
    a_negative_number_where_it_must_be_positive: with("epochs = 60", "epochs = 60\nlr = -0.1");
    not_a_number: with("epochs = 60", "epochs = 60\nlr = nan");
    an_infinite_number: with("epochs = 60", "epochs = 60\nlr = inf");
    a_number_outside_its_range: with("channels = [8, 16]", "channels = [8, 0], width = 5");
    a_single_value_for_a_list: with("hidden = [64]", "hidden = 64");
    an_empty_list: with("hidden = [64]", "hidden = []");
    a_wrong_choice: with("epochs = 60", "epochs = 60\nlabels = \"Soft\"");
    a_wrong_variant: with("architecture = \"mlp\"", "architecture = \"mlpp\"");
    a_failed_check: with("epochs = 60", "epochs = 60\ndevice = \"tpu\"");
    fields_that_do_not_go_together: with("epochs = 60", "epochs = 600\nlr = 2");
    a_missing_field: with("epochs = 60\n", "");
    a_missing_field_of_a_nested_table: with(", channels = [8, 16]", "");
    a_missing_study: with("study = \"toy\"", "");
    a_study_that_is_no_name: with("study = \"toy\"", "study = \"My Toy\"");
    a_study_without_stages: "study = \"toy\"";
    a_missing_kind: with("kind = \"gd-project\"\n", "");
    an_unknown_kind: with("kind = \"gd-project\"", "kind = \"gd-projekt\"");
    a_stage_that_is_no_table: with("[stage.digits]", "[stage]\ndigit = 3\n[stage.digits]");
    a_stage_with_a_bad_name: and("[stage.\"a b\"]\nkind = \"dataset\"\nsource = \"x\"\n");
    a_reference_to_no_stage: with("from = \"train\"", "from = \"trian\"");
    a_reference_to_the_wrong_kind: with("data = \"digits\"", "data = \"project\"").replace("from = \"train\"", "from = \"digits\"");
    a_reference_that_is_none: with("from = \"train\"", "from = \"train[model\"");
    a_filter_on_no_axis: with("from = \"train\"", "from = \"train[modle=mlp]\"");
    a_filter_on_no_value: with("from = \"train\"", "from = \"train[model=mlpp]\"");
    references_that_do_not_agree: and("[stage.b]\nkind = \"gd-project\"\nfrom = \"project[seed=0]\"\n[stage.c]\nkind = \"gd-project\"\nfrom = \"b\"\nagainst = \"train[seed=1]\"\n");
    a_stage_that_refers_to_itself: with("from = \"train\"", "from = \"project\"");
    a_cycle: and("[stage.a]\nkind = \"gd-project\"\nfrom = \"b\"\n[stage.b]\nkind = \"gd-project\"\nfrom = \"c\"\n[stage.c]\nkind = \"gd-project\"\nfrom = \"a\"\n[stage.below]\nkind = \"gd-project\"\nfrom = \"a\"\n");
    an_empty_matrix: and("[stage.more]\nkind = \"dataset\"\nsource = \"x\"\nmatrix = {}\n");
    an_empty_axis: with("seed = [0, 1]", "seed = []");
    an_axis_that_is_no_list: with("seed = [0, 1]", "seed = 3");
    an_axis_with_a_value_twice: with("seed = [0, 1]", "seed = [0, 1, 0]");
    an_axis_of_tables_without_names: with("seed = [0, 1]", "seed = [{ a = 1 }, 1]");
    an_axis_with_a_value_that_names_nothing: and("[stage.more]\nkind = \"dataset\"\nmatrix.source = [\"a/b\"]\n");
    an_axis_that_is_no_field: with("seed = [0, 1]", "sed = [0, 1]");
    a_wrong_value_in_the_matrix: with("seed = [0, 1]", "seed = [0, -1]");
    an_axis_that_is_inherited_too: and("matrix.threshold = [1]\n[stage.again]\nkind = \"gd-project\"\nfrom = \"project\"\nmatrix.threshold = [2]\n");
    two_stages_that_write_to_one_place: and("[stage.p]\nkind = \"plot\"\noutput = \"a.svg\"\n[[stage.p.layers]]\nfrom = \"train\"\n[stage.q]\nkind = \"plot\"\noutput = \"./a.svg\"\n[[stage.q.layers]]\nfrom = \"train\"\n");
    instances_that_write_to_one_place: and("[stage.p]\nkind = \"plot\"\nmatrix.layers = { a = [{ from = \"train\" }], b = [{ from = \"project\" }] }\n");
    an_unknown_profile: BASE, profile "smok";
    an_unknown_profile_where_some_are_declared: and("[profile.quick.stage.train]\nepochs = 1\n"), profile "other";
    an_overlay_over_no_stage_even_where_it_is_not_in_force: and("[profile.paper.stage.trian]\nepochs = 200\n");
    an_unknown_key_of_a_profile: and("[profile.smoke.stages.train]\nepochs = 1\n");
    a_mistake_in_an_overlay: and("[profile.smoke.stage.train]\nepochs = 0\n"), profile "smoke";
    a_setting_with_a_wrong_value: BASE, set "stage.train.epochs=x";
    a_setting_of_no_stage: BASE, set "stage.trian.epochs=3";
    a_setting_of_no_field: BASE, set "stage.train.epoch=3";
    a_setting_without_a_value: BASE, set "stage.train.epochs", set "stage.train.epochs=";
    a_setting_without_a_path: BASE, set "train=3", set "stage.train=3", set "train.epochs=3", set "stage..epochs=3";
    a_setting_that_an_axis_would_undo: BASE, set "stage.train.seed=3";
    a_setting_within_what_is_no_table: BASE, set "stage.train.epochs.more=3";
    a_setting_and_the_file_are_wrong_at_once: with("epochs = 60", "epochs = 60\nlr = 0"), set "stage.train.epochs=-3";
}
