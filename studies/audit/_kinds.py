"""The kind of each faulty loss of the corpus: what a test must vary to notice it."""

from enum import StrEnum


class Kind(StrEnum):
    """Kinds of faults, by the calls that show them. A fault has one kind."""

    MASKS = "masks"
    NON_FINITE = "NaN and infinity"
    OFFSET = "offset"
    VOCABULARY = "wide vocabularies"
    TARGETS = "targets"
    TIES = "ties"
    PRECISION = "precision"
    GRADIENT = "gradient"
    UPSTREAM = "upstream"
    LAYOUT = "layout"
    BATCH = "batch edges"
    CALLS = "calls and modes"
    OPTIONS = "options"


MEANING = {
    Kind.MASKS: "classes with a logit of -inf",
    Kind.NON_FINITE: "logits or results that are NaN or infinite",
    Kind.OFFSET: "logits far from 0, and losses of hundreds",
    Kind.VOCABULARY: "rows wider than a tile, or of a whole vocabulary",
    Kind.TARGETS: "targets of particular classes and dtypes",
    Kind.TIES: "logits that are equal",
    Kind.PRECISION: "results that lose digits",
    Kind.GRADIENT: "gradients of right losses",
    Kind.UPSTREAM: "gradients passed on from the layers above",
    Kind.LAYOUT: "strides, storage offsets and arguments that are overwritten",
    Kind.BATCH: "the number of rows, and their order",
    Kind.CALLS: "later calls, threads, and modes of the framework",
    Kind.OPTIONS: "loss options such as ignore_index and label_smoothing",
}

# The kind of most losses of a module; the names below differ from it.
_OF_MODULE = {
    "tiles": Kind.VOCABULARY, "numbers": Kind.PRECISION, "calls": Kind.BATCH, "gradients": Kind.GRADIENT,
    "upstream": Kind.UPSTREAM, "properties": Kind.OPTIONS, "options": Kind.OPTIONS, "kinds": Kind.CALLS,
    "modes": Kind.CALLS, "losses": Kind.PRECISION,
}  # fmt: skip
_NAMES = {
    Kind.MASKS: """
        halves_of_masks_merged a_masked_quarter_that_is_not_the_first masks_are_minus_1e9
        masks_in_the_sum_are_minus_65504 masked_classes_are_pulled zero_times_minus_infinity one_hot_times_log_softmax
        slope_behind_a_where zero_times_a_mask fused_by_a_dot masked_target_has_no_gradient
        nothing_where_the_loss_is_infinite
    """,
    Kind.NON_FINITE: """
        nan_is_not_larger nan_behind_the_first_tile nan_is_zero nan_loss_is_zero nan_is_swallowed nan_becomes_zero
        nan_by_fmax nan_does_not_multiply infinities_are_numbers infinity_is_the_largest_number maximum_without_nan
        infinite_loss_is_bounded
    """,
    Kind.OFFSET: """
        maximum_starts_at_zero maximum_starts_at_minus_65504 maximum_of_the_first_tile maximum_is_added_back
        shifted_by_the_target shifted_by_the_largest_magnitude no_shift_where_none_seems_needed log_of_the_smallest
        large_gaps_are_the_loss loss_ends_at_100 soft_cap normalizer_in_low_precision logits_through_float16
        probability_plus_epsilon clipped_probability normalizer_in_the_dtype log_of_a_difference
    """,
    Kind.VOCABULARY: "largest_thousand_classes small_terms_are_skipped terms_are_added_one_by_one "
    "sum_in_low_precision sum_stays_in_the_dtype vocabularies_by_a_sample added_one_by_one slice_is_moved_back "
    "last_tile_is_padded_with_zeros",
    Kind.TARGETS: """
        target_in_eight_bits target_in_fifteen_bits target_in_sixteen_bits target_in_the_logits_dtype
        target_of_the_last_tile_is_missed last_class_is_no_target first_class_is_padding class_255_is_ignored
        class_50256_is_padding class_zero_is_no_target int32_targets_are_read_as_pairs every_second_int32_target
        target_in_a_signed_byte one_class_is_a_logit_of_two one_class_has_no_target
    """,
    Kind.TIES: """
        target_by_its_logit ties_taken_out_of_the_sum one_at_every_class_that_ties ties_share_the_gradient
        ties_share_the_maximum equal_logits_count_once second_of_two_ties
    """,
    Kind.PRECISION: "vocabularies_are_read_in_bfloat16 sum_is_short",
    Kind.GRADIENT: """
        last_class_has_no_one sure_targets_are_pushed_down normalizer_is_half_stopped residuals_in_bfloat16
        rounded_normalizer target_counted_from_the_end probabilities_in_bfloat16 small_entries_are_zero
        divided_by_the_batch every_target_in_every_row exponentials_unshifted probabilities_in_half
    """,
    Kind.UPSTREAM: """
        upstream_apart_is_taken_for_one_number upstream_is_read_without_gaps upstream_is_ignored upstream_is_summed
        upstream_is_read_from_the_start_of_its_memory upstream_loses_its_sign gradient_is_clipped
    """,
    Kind.LAYOUT: """
        strides_are_ignored row_stride_is_the_width target_stride_is_ignored shifts_in_place targets_made_one_based
        storage_offset_is_ignored targets_are_loaded_in_aligned_pairs strided_logits_with_contiguous_targets
        written_row_after_row gradient_takes_the_place_of_the_logits rows_as_they_lie_in_memory
        targets_are_scratch_space no_gradient_no_copy
    """,
    Kind.BATCH: """
        maximum_of_sixteen_rows second_of_a_pair an_empty_batch_gives_a_row an_empty_batch_is_a_mean_of_nothing
        an_empty_batch_leaves_its_grid blocks_of_rows_of_a_vocabulary_have_no_tail two_million_logits_in_parts
        offset_of_a_row_in_24_bits grid_of_rows_and_tiles upstream_of_the_first_512_rows maximum_of_the_batch
        gradient_of_the_first_thousand_rows rows_are_sorted batch_of_the_first_call gradient_of_the_detached_copy
    """,
    Kind.CALLS: """
        result_is_overwritten_by_the_next_call maximum_of_the_first_call workspace_is_not_cleared
        every_seventh_call_is_coarse order_of_the_sum_is_random noise_is_left_on evaluation_takes_another_path
        gradient_is_scaled_in_place probabilities_of_the_latest_call a_little_more_each_time primal_is_coarse
        probabilities_by_shape
    """,
    Kind.OPTIONS: """
        ignored_rows_times_zero ignored_rows_by_a_matrix ignored_rows_have_a_gradient
        gradient_of_a_mean_over_ignored_rows mean_over_rows_and_not_weights weight_is_left_out_of_the_gradient
        smoothing_leaves_the_target_out
    """,
}
_OF_NAME = {name: kind for kind, names in _NAMES.items() for name in names.split()}


def kind_of(module: str, name: str) -> Kind:
    """Return the kind of a faulty loss, by its module in the corpus, such as ``torch.tiles``, and its name."""
    return _OF_NAME.get(name, _OF_MODULE[module.rpartition(".")[2]])


def named_kinds() -> frozenset[str]:
    """Return the names of the losses whose kind is not that of their module."""
    return frozenset(_OF_NAME)
