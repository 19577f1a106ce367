/* Two versions of an instance: the one that runs, and one kept beside it for a way back. */
#include "store/internal.h"

/* Runs statements of which each takes the instance alone. */
static int run_each(struct store_tx *tx, const enum sql_id *ids, size_t n, const char *instance,
		    struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_query_ struct query q = {};

		query_start(&q, tx->store, ids[i]);
		query_text(&q, instance);
		r = query_run(&q, NULL, "switching the version of an instance", NULL, err);
	}
	return tx_result(tx, r);
}

int store_instance_generation(struct store *store, const char *id, uint32_t *ret, struct error *err)
{
	_cleanup_query_ struct query q = {};
	int r;

	query_start(&q, store, SQL_INSTANCE_GENERATION);
	query_text(&q, id);
	r = query_step(&q, err);
	if (r == 0)
		return error_raise(err, ERROR_NOT_FOUND, "no instance '%s'", id);
	if (r > 0)
		*ret = (uint32_t)sqlite3_column_int64(q.stmt, 0);
	return r < 0 ? r : 0;
}

/* The bundles of both versions show how many instances run them. */
static int change_bundles(struct store_tx *tx, const uint8_t *a, const uint8_t *b,
			  struct error *err)
{
	int r = change_bundle(tx, a, err);

	return r < 0 || memcmp(a, b, STORE_DIGEST_LEN) == 0 ? r : change_bundle(tx, b, err);
}

int store_version_switch(struct store_tx *tx, const struct store_instance *row,
			 const struct store_parameter *parameters, size_t n_parameters,
			 struct error *err)
{
	static const enum sql_id save[] = {
		SQL_PREVIOUS_PARAMETERS_SAVE, SQL_PREVIOUS_PROGRAMS_SAVE, SQL_PREVIOUS_MAPS_SAVE,
		SQL_PARAMETERS_DELETE,	      SQL_PROGRAMS_MARK,	  SQL_MAPS_MARK,
	};
	_cleanup_free_ struct store_instance *before = NULL;
	_cleanup_query_ struct query q = {};
	int r = store_instance_get(tx->store, row->id, &before, err);

	if (r == 0)
		r = run_each(tx, save, ARRAY_SIZE(save), row->id, err);
	for (size_t i = 0; r == 0 && i < n_parameters; i++)
		r = parameter_insert(tx, row->id, i, &parameters[i], err);
	if (r < 0)
		return tx_result(tx, r);
	query_start(&q, tx->store, SQL_INSTANCE_SWITCH);
	query_bytes(&q, row->digest, STORE_DIGEST_LEN);
	query_u64(&q, row->generation);
	query_u64(&q, row->loaded_at_ns);
	query_u64(&q, row->soak_ends_at_ns);
	query_u64(&q, row->state);
	r = instance_write(tx, &q, row->id, err);
	if (r == 0)
		r = change_bundles(tx, before->digest, row->digest, err);
	return tx_result(tx, r);
}

int store_version_part_map(struct store_tx *tx, const char *instance, const char *map,
			   struct error *err)
{
	static const enum sql_id ids[] = { SQL_PREVIOUS_MAP_PART, SQL_PREVIOUS_ENTRIES_SAVE,
					   SQL_ENTRIES_DELETE };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(ids); i++) {
		_cleanup_query_ struct query q = {};

		query_start(&q, tx->store, ids[i]);
		query_text(&q, instance);
		query_text(&q, map);
		r = query_run(&q, NULL, "parting a map", NULL, err);
	}
	return tx_result(tx, r);
}

/* A deletion for each row that the statement lists. */
static int change_marked(struct store_tx *tx, enum sql_id id, enum store_object_kind kind,
			 const char *word, const char *instance, struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t revision;
	int r;

	query_start(&q, tx->store, id);
	query_text(&q, instance);
	while ((r = query_step(&q, err)) > 0) {
		r = change_append(tx, kind, true, &revision, err, "instances/%s/%ss/%s", instance,
				  word, (const char *)sqlite3_column_text(q.stmt, 0));
		if (r < 0)
			return r;
	}
	return r;
}

int store_version_sweep(struct store_tx *tx, const char *instance, struct error *err)
{
	static const enum sql_id sweep[] = { SQL_PROGRAMS_SWEEP, SQL_MAPS_SWEEP };
	int r = change_marked(tx, SQL_PROGRAMS_MARKED, STORE_OBJECT_PROGRAM, "program", instance,
			      err);

	if (r == 0)
		r = change_marked(tx, SQL_MAPS_MARKED, STORE_OBJECT_MAP, "map", instance, err);
	if (r == 0)
		r = run_each(tx, sweep, ARRAY_SIZE(sweep), instance, err);
	return tx_result(tx, r);
}

static int put_previous(struct store_tx *tx, const char *instance, struct error *err)
{
	_cleanup_free_ struct store_program *programs = NULL;
	_cleanup_free_ struct store_map *maps = NULL;
	size_t n_programs = 0, n_maps = 0;
	int r = store_previous_program_list(tx->store, instance, INT64_MAX, &programs, &n_programs,
					    err);

	if (r == 0)
		r = store_previous_map_list(tx->store, instance, INT64_MAX, &maps, &n_maps, err);
	for (size_t i = 0; r == 0 && i < n_programs; i++)
		r = store_program_put(tx, &programs[i], err);
	for (size_t i = 0; r == 0 && i < n_maps; i++)
		r = store_map_put(tx, &maps[i], err);
	return r;
}

int store_version_switch_back(struct store_tx *tx, const char *instance, struct error *err)
{
	static const enum sql_id mark[] = { SQL_PARAMETERS_DELETE, SQL_PREVIOUS_PARAMETERS_RESTORE,
					    SQL_PROGRAMS_MARK, SQL_MAPS_MARK };
	static const enum sql_id entries[] = { SQL_ENTRIES_DELETE_PARTED,
					       SQL_PREVIOUS_ENTRIES_RESTORE };
	_cleanup_free_ struct store_instance *before = NULL;
	_cleanup_query_ struct query q = {};
	int r = store_instance_get(tx->store, instance, &before, err);

	if (r == 0 && !before->has_previous)
		r = error_raise(err, ERROR_NOT_FOUND, "no version is kept beside instance '%s'",
				instance);
	if (r == 0)
		r = run_each(tx, mark, ARRAY_SIZE(mark), instance, err);
	if (r == 0)
		r = put_previous(tx, instance, err);
	if (r == 0)
		r = run_each(tx, entries, ARRAY_SIZE(entries), instance, err);
	if (r == 0)
		r = store_version_sweep(tx, instance, err);
	if (r < 0)
		return tx_result(tx, r);
	query_start(&q, tx->store, SQL_INSTANCE_SWITCH_BACK);
	r = instance_write(tx, &q, instance, err);
	if (r == 0)
		r = change_bundles(tx, before->digest, before->previous_digest, err);
	return r < 0 ? tx_result(tx, r) : store_version_forget_previous(tx, instance, err);
}

int store_version_forget_previous(struct store_tx *tx, const char *instance, struct error *err)
{
	static const enum sql_id ids[] = { SQL_PREVIOUS_PARAMETERS_DELETE,
					   SQL_PREVIOUS_PROGRAMS_DELETE, SQL_PREVIOUS_MAPS_DELETE };
	_cleanup_query_ struct query q = {};
	int r = run_each(tx, ids, ARRAY_SIZE(ids), instance, err);

	if (r < 0)
		return r;
	query_start(&q, tx->store, SQL_INSTANCE_FORGET_PREVIOUS);
	return tx_result(tx, instance_write(tx, &q, instance, err));
}
