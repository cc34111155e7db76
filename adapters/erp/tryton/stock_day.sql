with {{>company.sql}}
select distinct m.product
  from company c
  join stock_move m on m.company = c.company and m.state in ('done', 'assigned', 'draft')
 cross join lateral (
       select ($1::timestamptz at time zone c.timezone)::date as before, ($2::timestamptz at time zone c.timezone)::date as today
       ) w
 where w.before < w.today
{{^forecast}}
   and coalesce(m.effective_date, m.planned_date) > w.before and coalesce(m.effective_date, m.planned_date) <= w.today
{{/forecast}}
{{#forecast}}
   and (m.state <> 'done' or coalesce(m.effective_date, m.planned_date) >= w.before)
{{/forecast}}
