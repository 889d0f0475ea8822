package coordinator

import (
	"context"
	"time"

	"servidor-backup/schemas"
)

// forget answers backup.forget.
func (c *Coordinator) forget(ctx context.Context, req *schemas.ForgetRequest) (any, error) {
	if err := schemas.CheckNickname(req.Nickname); err != nil {
		return nil, err
	}
	record, number, err := schemas.ParseVersionID(req.ID)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	if number > 0 {
		if _, err := c.records.version(ctx, req.Nickname, record, number); err != nil {
			return nil, err
		}
		numbers = []uint64{number}
	} else {
		all, err := c.records.versions(ctx, req.Nickname, record, 0)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			_, err := c.records.version(ctx, req.Nickname, record, 0)
			return nil, err // which says what there is none of
		}
		for i := range all {
			numbers = append(numbers, all[i].Number)
		}
	}
	rep := &schemas.ForgetReply{Reply: schemas.OK}
	for _, n := range numbers {
		changed, err := c.records.setForgotten(ctx, req.Nickname, record, n, req.Undo)
		if err != nil {
			return nil, err
		}
		if changed {
			id := schemas.VersionID(record, n)
			rep.Versions = append(rep.Versions, id)
			what := "forgot"
			if req.Undo {
				what = "took back"
			}
			c.event(schemas.EventVersionForgotten, id, req.Nickname, "%s %s %s", req.Nickname, what, id)
		}
	}
	// Also if nothing has changed: who did change something may have died.
	return rep, c.records.refresh(ctx, req.Nickname, record)
}

// setForgotten forgets a version, or with undo takes that back.
func (r *records) setForgotten(ctx context.Context, nickname, record string, number uint64, undo bool) (changed bool, err error) {
	var v schemas.Version
	_, err = r.kv.Edit(ctx, versionKey(nickname, record, number), &v, func() { v = schemas.Version{} }, func() (bool, error) {
		if v.Number == 0 {
			return false, schemas.Errorf(schemas.UnknownVersion, "the version %s was collected", schemas.VersionID(record, number))
		}
		if changed = undo == (v.Forgotten > 0); changed {
			if v.Forgotten = 0; !undo {
				v.Forgotten = time.Now().UnixNano()
			}
		}
		return changed, nil
	})
	if err == nil && changed {
		r.wrote(versionKey(nickname, record, number))
	}
	return changed, err
}

// refresh makes a record's head say what its versions are now.
func (r *records) refresh(ctx context.Context, nickname, record string) error {
	return r.editHead(ctx, nickname, record, func(h *head) error {
		all, err := r.versions(ctx, nickname, record, 0) // newest first
		if err != nil {
			return err
		}
		next := head{Record: schemas.Record{Name: record}, Highest: h.Highest}
		for i := len(all) - 1; i >= 0; i-- {
			v := &all[i]
			next.Highest = max(next.Highest, v.Number)
			next.count(v)
		}
		*h = next
		return nil
	})
}

// count makes the head of a record tell of one version more, the newest yet.
func (h *head) count(v *schemas.Version) {
	switch {
	case v.Forgotten == 0:
		h.Versions++
		h.show(v)
	case h.Versions == 0:
		h.show(v)
	}
}
