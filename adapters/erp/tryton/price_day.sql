with {{>company.sql}}
select p.id
  from product_product p
 where exists (
       select
         from company c
         join product_price_list list on list.company = c.company
         join product_price_list_line l on l.price_list = list.id and (l.product is null or l.product = p.id)
        cross join lateral (
              select ($1::timestamptz at time zone c.timezone)::date as before,
                     ($2::timestamptz at time zone c.timezone)::date as today,
                     (to_jsonb(l) ->> 'start_date')::date as start_date,
                     (to_jsonb(l) ->> 'end_date')::date as end_date
              ) w
        where w.start_date > w.before and w.start_date <= w.today
           or w.end_date >= w.before and w.end_date < w.today)
