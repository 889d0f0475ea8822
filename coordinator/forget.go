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
	var all []schemas.Version
	if number > 0 {
		v, err := c.records.version(ctx, req.Nickname, record, number)
		if err != nil {
			return nil, err
		}
		all = []schemas.Version{*v}
	} else {
		all, err = c.records.versions(ctx, req.Nickname, record, 0)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			_, err := c.records.version(ctx, req.Nickname, record, 0)
			return nil, err // which says what there is none of
		}
	}
	rep := &schemas.ForgetReply{Reply: schemas.OK}
	for i := range all {
		changed, err := c.records.setForgotten(ctx, &all[i], req.Undo)
		if err != nil {
			return nil, err
		}
		if changed {
			id := all[i].ID
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
func (r *records) setForgotten(ctx context.Context, old *schemas.Version, undo bool) (changed bool, err error) {
	key := versionKey(old.Nickname, old.Record, old.Number)
	var v schemas.Version
	_, err = r.kv.Edit(ctx, key, &v, func() { v = schemas.Version{} }, func() (bool, error) {
		switch {
		case v.Number == 0:
			return false, schemas.Errorf(schemas.UnknownVersion, "the version %s was collected", old.ID)
		case v.Session != old.Session:
			return false, schemas.Errorf(schemas.Unavailable, "the version %s has just got another number: look which, and ask again", old.ID)
		}
		if changed = undo == (v.Forgotten > 0); changed {
			if v.Forgotten = 0; !undo {
				v.Forgotten = time.Now().UnixNano()
			}
		}
		return changed, nil
	})
	if err == nil && changed {
		r.wrote(key)
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
		next := head{Record: schemas.Record{Name: record}, Highest: h.Highest, Last: h.Last}
		for i := len(all) - 1; i >= 0; i-- {
			v := &all[i]
			next.Highest, next.Last = max(next.Highest, v.Number), max(next.Last, v.Created)
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
